//! Block types against rows that ggml packed and unpacked.

use ingot_format::DType;

const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures/blocks/");

/// Values in each of the six rows of a case.
const COLS: usize = 256;

struct Case {
    dtype: DType,
    packed: Vec<u8>,
    expected: Vec<f32>,
    /// Root mean square error of ggml's quantizer on the six test rows.
    ggml_error: f64,
}

fn cases() -> Vec<Case> {
    let read = |name: &str| std::fs::read(format!("{DIR}{name}")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&read("index.json")).unwrap();
    let (packed, expected) = (read("blocks.bin"), read("blocks.expected.f32"));
    let expected: Vec<f32> = expected.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let case = |c: &serde_json::Value| {
        let int = |key: &str| c[key].as_u64().unwrap() as usize;
        let (at, values) = (int("offset"), int("rows") * int("cols"));
        let first = int("expected_offset") / 4;
        Case {
            dtype: DType::from_gguf_id(int("ggml_type") as u32).unwrap(),
            packed: packed[at..at + int("bytes")].to_vec(),
            expected: expected[first..first + values].to_vec(),
            ggml_error: c["rms_quantisation_error"].as_f64().unwrap(),
        }
    };
    index["types"].as_array().unwrap().iter().map(case).collect()
}

fn dequantize(dtype: DType, packed: &[u8], len: usize) -> Vec<f32> {
    let mut values = vec![0.0; len];
    dtype.dequantize(packed, &mut values);
    values
}

fn quantize(dtype: DType, values: &[f32]) -> Vec<u8> {
    let mut packed = vec![0; dtype.row_bytes(values.len()).unwrap()];
    dtype.quantize(values, &mut packed);
    packed
}

fn rms_difference(a: &[f32], b: &[f32]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    (sum / a.len() as f64).sqrt()
}

#[test]
fn dequantizing_gives_the_same_bits() {
    let cases = cases();
    assert_eq!(cases.len(), 15);
    for c in cases {
        let got = dequantize(c.dtype, &c.packed, c.expected.len());
        let differs = got.iter().zip(&c.expected).position(|(a, b)| a.to_bits() != b.to_bits());
        assert_eq!(differs, None, "{}", c.dtype);
    }
}

/// The rows are Gaussian, one outlier, a ramp, tiny values, two values, and a
/// large offset; the half-precision case holds them almost exactly.
#[test]
fn quantizing_is_as_good_as_ggml() {
    let cases = cases();
    let rows = &cases.iter().find(|c| c.dtype == DType::F16).unwrap().expected;
    for c in cases.iter().filter(|c| c.dtype != DType::F16) {
        let ours = dequantize(c.dtype, &quantize(c.dtype, rows), rows.len());
        let error = rms_difference(rows, &ours);
        assert!(error <= 1.05 * c.ggml_error, "{}: {error} against {}", c.dtype, c.ggml_error);
        let by_row = rows.chunks(COLS).zip(ours.chunks(COLS)).zip(c.expected.chunks(COLS));
        for (i, ((row, ours), ggml)) in by_row.enumerate() {
            let (ours, ggml) = (rms_difference(row, ours), rms_difference(row, ggml));
            // The scale's own rounding, which neither can help, is up to 2^-11 of the values.
            let unavoidable = rms_difference(row, &[0.0; COLS]) / 2048.0;
            assert!(ours <= 1.1 * ggml + unavoidable, "{} row {i}: {ours} against {ggml}", c.dtype);
        }
    }
}

#[test]
fn quantizing_again_changes_little() {
    for c in cases() {
        let again = quantize(c.dtype, &c.expected);
        let error = rms_difference(&c.expected, &dequantize(c.dtype, &again, c.expected.len()));
        match c.dtype {
            // These take the scale from the values alone, and find their own again.
            DType::F16 | DType::BF16 | DType::Q8_0 | DType::MXFP4 => assert_eq!(error, 0.0, "{}", c.dtype),
            _ => assert!(error < 0.35 * c.ggml_error, "{}: {error}", c.dtype),
        }
    }
}
