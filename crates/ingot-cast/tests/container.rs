//! Cast files as a whole. The program is this test, which has a seal like any other program
//! with this library in it.

use ingot_cast::file::{
    CastFile, Casting, Contents, Defaults, Error, Model, Runtime, Sizes, Verification, write,
};
use ingot_format::Bytes;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A whole number of no unit that the format knows, and more than two pieces.
const MODEL: usize = 9_000_001;

fn model() -> Bytes {
    let mut state = 1u32;
    let mut byte = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..MODEL).map(|_| byte()).collect::<Vec<u8>>().into()
}

fn contents() -> Contents {
    Contents {
        name: "fable".into(),
        description: Some("tells \"fables\"".into()),
        created: 1_795_305_600,
        model: Model {
            source: "m.gguf".into(),
            changes: vec!["packed as Q8_0".into()],
            name: None,
            family: "llama".into(),
            parameters: 7,
            quantization: "Q8_0".into(),
            license: Some("mit".into()),
        },
        defaults: Defaults::from([("temp".into(), vec!["0.5".into()])]),
    }
}

fn cast(runtime: &Runtime, path: &Path) -> Sizes {
    let casting = Casting { runtime, model: &model(), contents: contents() };
    write(&casting, path, &mut |_, _| true).unwrap()
}

fn own() -> Runtime {
    Runtime::open(&std::env::current_exe().unwrap()).unwrap()
}

fn macho(machine: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/macho-{machine}"))
}

/// Whether the file would be used.
fn is_whole(path: &Path) -> Result<bool, Error> {
    match CastFile::open(path)? {
        Some(cast) => cast.verify(&mut |_, _| true).map(|()| true),
        None => Ok(false),
    }
}

#[test]
fn what_goes_in_comes_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fable");
    let runtime = own();
    let sizes = cast(&runtime, &path);
    assert_eq!(sizes.runtime, fs::metadata(&runtime.path).unwrap().len());
    assert_eq!((sizes.model, sizes.file), (MODEL as u64, fs::metadata(&path).unwrap().len()));
    assert!(sizes.file < (sizes.runtime + sizes.model) * 101 / 100);

    let cast = CastFile::open(&path).unwrap().unwrap();
    assert_eq!(cast.index().contents, contents());
    assert!(cast.runs_here());
    assert_eq!(cast.model(), model());
    assert_eq!(cast.model().as_ptr().addr() % 4096, 0);
    cast.verify(&mut |_, _| true).unwrap();
    let mut out = Vec::new();
    cast.copy_model(&mut out, &mut |_, _| true).unwrap();
    assert!(out[..] == model()[..]);
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, (mode & 0o444) >> 2, "{mode:o}");
}

#[test]
fn a_cast_file_can_be_the_program_of_another() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    cast(&own(), &first);
    let runtime = Runtime::open(&first).unwrap();
    assert!(runtime.was_cast && !own().was_cast);
    cast(&runtime, &second);
    assert!(fs::read(&first).unwrap() == fs::read(&second).unwrap());
}

#[test]
fn a_program_that_was_not_cast_has_no_model() {
    assert!(CastFile::own().unwrap().is_none());
    assert!(CastFile::open(&own().path).unwrap().is_none());
    for other in ["src/lib.rs", "src", "no such file"] {
        let other = Path::new(env!("CARGO_MANIFEST_DIR")).join(other);
        assert!(matches!(CastFile::open(&other), Err(Error::NoRuntime { .. })));
    }
}

#[test]
fn every_region_is_guarded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fable");
    let sizes = cast(&own(), &path);
    let file = File::options().read(true).write(true).open(&path).unwrap();
    assert!(is_whole(&path).unwrap());
    let index = CastFile::open(&path).unwrap().unwrap().index().clone();
    let (seal, model_end) = (index.seal, index.model_start + index.model_bytes);
    let mut places: Vec<u64> = (seal..seal + 128).collect();
    // Program, padding, model, index, each at its ends and between.
    for region in [
        0..sizes.runtime,
        sizes.runtime..index.model_start,
        index.model_start..model_end,
        model_end..sizes.file,
    ] {
        let step = ((region.end - region.start) / 13).max(1);
        places.extend(region.clone().step_by(step as usize));
        places.push(region.end - 1);
    }
    for at in places {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        for bit in [0, 6] {
            file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
            // A program whose very beginning or seal is not to be recognized is no cast file.
            let unrecognized = at < 20 || (seal..seal + 16).contains(&at);
            match is_whole(&path) {
                Err(e) => assert!(e.hint().is_some(), "{e}"),
                Ok(whole) => assert!(!whole && unrecognized, "byte {at}, bit {bit}"),
            }
        }
        file.write_all_at(&byte, at).unwrap();
    }
    assert!(is_whole(&path).unwrap(), "all bytes are as they were");
}

/// What is verified when the program starts: the model, and not the program.
#[test]
fn the_model_is_verified_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fable");
    cast(&own(), &path);
    let index = CastFile::open(&path).unwrap().unwrap().index().clone();
    let file = File::options().read(true).write(true).open(&path).unwrap();
    let started = |threads| {
        let cast = CastFile::open(&path).unwrap().unwrap();
        Verification::start(&cast, threads).finish()
    };
    let model = [
        index.model_start,
        index.model_start + index.model_bytes / 2,
        index.model_start + index.model_bytes - 1,
    ];
    for (at, is_found) in
        model.map(|at| (at, true)).into_iter().chain([(4096, index.model_start < index.piece_bytes)])
    {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        for threads in [0, 3] {
            assert_eq!(started(threads).is_err(), is_found, "byte {at}");
        }
        assert!(is_whole(&path).is_err());
        file.write_all_at(&byte, at).unwrap();
    }
    assert!(started(1).is_ok());
}

#[test]
fn no_part_of_it_will_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fable");
    let Sizes { runtime, file: len, .. } = cast(&own(), &path);
    let file = File::options().write(true).open(&path).unwrap();
    file.set_len(len + 1).unwrap();
    let e = is_whole(&path).unwrap_err();
    assert!(e.to_string().contains(&format!("should have {len} bytes")), "{e}");
    let lengths = [
        len - 1,
        len - 2,
        len - 100,
        len - 5000,
        runtime + MODEL as u64,
        runtime + 1,
        runtime,
        runtime / 2,
        100,
        1,
    ];
    for length in lengths {
        file.set_len(length).unwrap();
        assert!(!is_whole(&path).unwrap_or(false), "{length} bytes");
    }
    // What is left is the program, which knows that it was more.
    cast(&own(), &path);
    File::options().write(true).open(&path).unwrap().set_len(runtime).unwrap();
    assert!(matches!(CastFile::open(&path), Err(Error::Damaged { .. })));
}

#[test]
fn whoever_watches_can_stop_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fable");
    let (runtime, model) = (own(), model());
    let casting = Casting { runtime: &runtime, model: &model, contents: contents() };
    let stopped = write(&casting, &path, &mut |done, all| done < all / 2);
    assert!(matches!(stopped, Err(Error::Stopped)));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "something is left");
}

#[test]
fn programs_for_macos_are_signed_again() {
    let dir = tempfile::tempdir().unwrap();
    for machine in ["arm64", "x86_64"] {
        let path = dir.path().join(machine);
        let runtime = Runtime::open(&macho(machine)).unwrap();
        assert_eq!((runtime.version.as_str(), runtime.runs_here()), ("0.1.0", false));
        let sizes = cast(&runtime, &path);
        assert_eq!(sizes.file, fs::metadata(&path).unwrap().len());
        // A checksum of 32 bytes for every 4096, and little more.
        let parts = sizes.runtime + sizes.model;
        assert!(sizes.file < parts + parts / 128 + 40_000, "{sizes:?}");
        assert!(is_whole(&path).unwrap());
        let cast_file = CastFile::open(&path).unwrap().unwrap();
        assert_eq!(cast_file.model(), model());
        let again = Runtime::open(&path).unwrap_err();
        assert!(again.to_string().contains("cannot be taken out"), "{again}");
    }
}
