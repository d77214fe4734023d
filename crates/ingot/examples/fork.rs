//! One beginning, several continuations: fork, save and load a session.

use ingot::{Model, Request, Sampler, SamplerOptions, Session};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = ingot::embedded()?;
    let mut beginning = model.session()?;
    beginning.feed(&model.tokenizer().encode("Once upon a time there was a fox who", Default::default())?)?;

    // A fork shares the memory of what it has in common with its origin.
    for seed in [1, 2] {
        println!("seed {seed}:{}\n", continuation(&mut beginning.fork()?, seed)?);
    }

    // A saved session goes on where it was, without reading anything again.
    let path = std::env::temp_dir().join(format!("ingot-example-{}.session", std::process::id()));
    beginning.save(&path, "notes go here")?;
    let (mut loaded, notes) = load(&model, &path)?;
    assert_eq!(notes, "notes go here");
    assert_eq!(continuation(&mut loaded, 1)?, continuation(&mut beginning, 1)?);
    println!("The loaded session writes what the saved one does.");
    Ok(())
}

fn continuation(session: &mut Session, seed: u64) -> ingot::Result<String> {
    let options = SamplerOptions { seed, ..Default::default() };
    let mut sampler = Sampler::new(options).expect("all in range");
    let request = Request { max_tokens: Some(40), ..Default::default() };
    session.generate(&mut sampler, &request)?.map(|piece| Ok(piece?.text)).collect()
}

fn load(model: &Model, path: &std::path::Path) -> ingot::Result<(Session, String)> {
    let loaded = Session::load(model, path);
    let _ = std::fs::remove_file(path); // only this example knows of it
    loaded
}
