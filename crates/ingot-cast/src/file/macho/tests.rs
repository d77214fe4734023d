//! On programs that LLVM's linker has linked and signed: `tests/fixtures/make.py`.

use super::*;
use std::path::Path;

/// Not a part of the test program, which must have no second seal.
fn programs() -> [Vec<u8>; 2] {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    ["macho-arm64", "macho-x86_64"].map(|name| std::fs::read(fixtures.join(name)).unwrap())
}

fn parse(bytes: &[u8]) -> crate::file::Result<MachO> {
    MachO::parse(bytes, Path::new("x"))
}

fn pages(bytes: &[u8]) -> Vec<[u8; 32]> {
    bytes.chunks(PAGE).map(page_hash).collect()
}

#[test]
fn what_the_linker_signed_gets_the_same_signature() {
    for (bytes, name) in programs().iter().zip(["macho-arm64", "macho-x86_64"]) {
        let program = parse(bytes).unwrap();
        let start = program.signature.start as usize;
        let signature = Signature::new(start as u32, name, program.text.clone());
        assert!(signature.to_bytes(&pages(&bytes[..start])) == bytes[start..], "{name}");
    }
}

#[test]
fn a_longer_string_table_ends_where_the_signature_begins() {
    for bytes in programs() {
        let before = parse(&bytes).unwrap();
        let data_end = before.strings.end + 100_000;
        let ending = Ending::plan(&before, data_end, "fable").unwrap();
        let mut longer = bytes[..before.strings.end as usize].to_vec();
        longer.resize(ending.range().start as usize, 7);
        for (at, bytes) in &ending.patches {
            longer[*at..][..bytes.len()].copy_from_slice(bytes);
        }
        longer.extend(ending.signature.to_bytes(&pages(&longer)));

        // The reader refuses what does not end with its signature.
        let after = parse(&longer).unwrap();
        assert_eq!(after.strings, before.strings.start..ending.range().start);
        assert_eq!(after.signature, ending.range());
        assert!(after.strings.end > data_end && after.strings.end.is_multiple_of(16));
        assert_eq!((after.machine, after.text), (before.machine, before.text));
        // And refuses more than what it ends with, or less.
        assert!(parse(&longer[..longer.len() - 1]).is_err());
        longer.push(0);
        assert!(parse(&longer).is_err());
    }
}

#[test]
fn offsets_have_32_bits() {
    let program = parse(&programs()[0]).unwrap();
    // The signature takes 32 bytes for a page of 4096.
    let fits = |data_end| Ending::plan(&program, data_end, "fable").is_some();
    assert!(fits(4_200_000_000) && !fits(4_290_000_000) && !fits(5_000_000_000));
}

#[test]
fn no_change_of_the_headers_makes_it_panic() {
    for bytes in programs() {
        let headers = 32 + u32::from_le_bytes(bytes[20..24].try_into().unwrap()) as usize;
        for at in 0..headers {
            for value in [0, 1, 0x7f, 0x80, 0xff, bytes[at] ^ 1] {
                let mut changed = bytes.clone();
                changed[at] = value;
                if let Ok(program) = parse(&changed) {
                    let _ = Ending::plan(&program, program.strings.end, "x");
                }
            }
        }
        for len in 4..headers {
            assert!(parse(&bytes[..len]).is_err(), "{len} bytes");
        }
    }
}

#[test]
fn what_cannot_be_done_is_said() {
    let mut bytes = programs()[0].clone();
    let program = parse(&bytes).unwrap();
    let said = |bytes: &[u8]| parse(bytes).unwrap_err().to_string();
    bytes[program.code_signature] = 0x2a; // another load command of the same form
    assert!(said(&bytes).contains("without a signature"));
    bytes[program.code_signature] = 0x1d;
    bytes[12] = 6;
    assert!(said(&bytes).contains("no program"), "a library");
    bytes[12] = 2;
    bytes[4] = 0x12;
    assert!(said(&bytes).contains("another processor"));
}
