//! Importance matrices: both forms, what they change, and those that are refused.

use super::*;

/// An importance matrix for some of a model's weights, in llama.cpp's old form
/// and as GGUF; the first half of the columns matters.
fn write(model: &Model, old: &Path, new: &Path) {
    let weights: Vec<&Weight> = model.weights().iter().filter(|w| w.name().contains("ffn_up")).collect();
    let sums = |w: &Weight| -> Vec<f32> {
        let matrices: usize = w.shape().iter().rev().skip(2).product();
        (0..w.cols() * matrices).map(|i| if i % w.cols() < w.cols() / 2 { 40.0 } else { 0.4 }).collect()
    };
    let mut bytes = (weights.len() as i32).to_le_bytes().to_vec();
    let mut writer = GgufWriter::new();
    writer.set("general.type", "imatrix");
    writer.set("imatrix.datasets", Array::from_strings(["text"]));
    for w in &weights {
        let sums = sums(w);
        bytes.extend((w.name().len() as i32).to_le_bytes());
        bytes.extend(w.name().as_bytes());
        bytes.extend(4i32.to_le_bytes());
        bytes.extend((sums.len() as i32).to_le_bytes());
        bytes.extend(sums.iter().flat_map(|x| x.to_le_bytes()));
        let matrices = sums.len() / w.cols();
        writer.add(format!("{}.in_sum2", w.name()), DType::F32, &[matrices, w.cols()]).unwrap();
        writer.add(format!("{}.counts", w.name()), DType::F32, &[matrices, 1]).unwrap();
    }
    bytes.extend([1, 0, 0, 0, 4, 0, 0, 0]);
    bytes.extend(b"text");
    fs::write(old, bytes).unwrap();
    let written = writer.write_to_path(new, |i, out| {
        let w = weights[i / 2];
        let values = if i % 2 == 0 { sums(w) } else { vec![4.0; sums(w).len() / w.cols()] };
        out.write_all(&values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>())
    });
    written.unwrap();
}

#[test]
fn both_forms_say_the_same_and_matter() {
    let temporary = tempfile::tempdir().unwrap();
    let at = |name: &str| temporary.path().join(name);
    for (file, mix) in [("llama-s-f16.gguf", Mix::Q4_0), ("qwen3moe-s-f16.gguf", Mix::IQ4_NL)] {
        let model = open(&fixture(file));
        write(&model, &at("old.dat"), &at("new.gguf"));
        let (old, new) =
            (Importance::open(&at("old.dat"), &model), Importance::open(&at("new.gguf"), &model));
        let (old, new) = (old.unwrap(), new.unwrap());
        let weight = model.weights().iter().find(|w| w.name().contains("ffn_up")).unwrap();
        assert_eq!(old.of(weight).unwrap(), new.of(weight).unwrap());
        assert_eq!(old.of(weight).unwrap()[0], 10.0);
        assert_eq!(old.len(), new.len());

        let pure = Choices { pure: true, ..Choices::default() };
        make(&model, mix, pure, None, &at("without.gguf"));
        make(&model, mix, pure, Some(&new), &at("with.gguf"));
        let from = Gguf::open(&fixture(file)).unwrap();
        let error = |name: &str, first: bool| -> f64 {
            let made = Gguf::open(&at(name)).unwrap();
            let (a, b) = (values(&made, weight.name()), values(&from, weight.name()));
            let cols = weight.cols();
            let counts = |i: usize| (i % cols < cols / 2) == first;
            (0..a.len()).filter(|i| counts(*i)).map(|i| f64::from(a[i] - b[i]).powi(2)).sum()
        };
        // Blocks of 32 within either half cannot help each other; those on the border
        // of a row of 96 can.
        assert!(error("with.gguf", true) <= error("without.gguf", true), "{file}");
    }
}

#[test]
fn damaged_or_foreign_ones_are_refused() {
    let temporary = tempfile::tempdir().unwrap();
    let at = |name: &str| temporary.path().join(name);
    let model = open(&fixture("llama-s-f16.gguf"));
    write(&model, &at("old.dat"), &at("new.gguf"));
    let message = |name: &str, model: &Model| Importance::open(&at(name), model).unwrap_err().to_string();
    let other = open(&fixture("qwen3-s-f16.gguf"));
    assert!(message("old.dat", &other).contains("another model"));
    let foreign = open(&fixture("rwkv7-s-f16.gguf"));
    assert!(message("new.gguf", &foreign).contains("none of the model's weights"));
    fs::copy(fixture("llama-s-f16.gguf"), at("model.gguf")).unwrap();
    assert!(message("model.gguf", &model).contains("expected an importance matrix"));

    let (old, new) = (fs::read(at("old.dat")).unwrap(), fs::read(at("new.gguf")).unwrap());
    let needed = old.len() - 12; // what comes after is not read
    for cut in 1..needed {
        fs::write(at("cut.dat"), &old[..cut]).unwrap();
        assert!(message("cut.dat", &model).contains("ends before"), "{cut}");
    }
    for (at_byte, value) in [(3, 0x80u8), (7, 0x7f), (7, 0x80)] {
        let mut changed = old.clone();
        changed[at_byte] = value;
        fs::write(at("cut.dat"), &changed).unwrap();
        assert!(message("cut.dat", &model).contains("importance matrix of llama.cpp"));
    }
    for number in [f32::NAN, -1.0, f32::INFINITY] {
        let mut changed = old.clone();
        changed[needed - 4..needed].copy_from_slice(&number.to_le_bytes());
        fs::write(at("cut.dat"), &changed).unwrap();
        assert!(message("cut.dat", &model).contains("negative or not finite"));
    }
    for cut in (0..new.len()).step_by(5) {
        fs::write(at("cut.gguf"), &new[..cut]).unwrap();
        drop(Importance::open(&at("cut.gguf"), &model));
    }
}
