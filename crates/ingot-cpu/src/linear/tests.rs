//! Every type on every instruction set against dequantized weights and a
//! plain loop.

use super::*;
use crate::isa::Isa;

/// A small generator of repeatable numbers.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }
    /// In -1..1
    pub(crate) fn float(&mut self) -> f32 {
        self.next() as f32 / (1u32 << 30) as f32 - 1.0
    }
    pub(crate) fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }
}

fn isas() -> impl Iterator<Item = Enabled> {
    Isa::available().into_iter().map(|isa| Enabled::new(isa).unwrap())
}

fn rounded(isa: Enabled, x: &[f32]) -> Vec<Q8> {
    let mut q = vec![Q8::default(); x.len() / 32];
    crate::vector::quantize(isa, x, &mut q);
    q
}

fn back(q: &[Q8]) -> Vec<f32> {
    let bytes =
        |q: &Q8| q.q.map(i32::to_le_bytes).into_iter().flatten().map(|b| f32::from(b as i8)).collect();
    q.iter()
        .flat_map(|q| {
            let b: Vec<f32> = bytes(q);
            b.into_iter().map(|b| b * q.scale)
        })
        .collect()
}

/// Products, and the sizes that errors are measured by: a small weight may be
/// the difference of a step and a minimum as large as its neighbors, so every
/// weight counts as much as the largest of its group.
fn plain(w: &[f32], x: &[f32], cols: usize) -> (Vec<f64>, Vec<f64>) {
    let pairs = x.chunks(cols).flat_map(|x| w.chunks(cols).map(move |w| (w, x)));
    pairs
        .map(|(w, x)| {
            let dot = w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum::<f64>();
            let largest = |w: &[f32]| f64::from(w.iter().fold(0.0f32, |m, x| m.max(x.abs())));
            let sum = |x: &[f32]| x.iter().map(|x| f64::from(x.abs())).sum::<f64>();
            (dot, w.chunks(32).zip(x.chunks(32)).map(|(w, x)| largest(w) * sum(x)).sum::<f64>())
        })
        .unzip()
}

fn multiply(isa: Enabled, m: Matrix, rows: usize, x: Input, tokens: usize) -> Vec<f32> {
    let mut out = vec![f32::NAN; tokens * rows];
    // SAFETY: nobody else has the output.
    unsafe { m.multiply(isa, 0..rows, x, Out::new(&mut out, rows)) };
    out
}

/// A matrix `[R, C]`, in a packed layout.
fn packed_as(isa: Enabled, layout: Layout, dtype: DType, bytes: &[u8], cols: usize) -> Vec<u8> {
    let row_bytes = dtype.row_bytes(cols).unwrap();
    let mut out = vec![0xff; packed_len((layout, dtype), bytes.len() / row_bytes, row_bytes)];
    let panel = layout.panel(dtype) * row_bytes;
    for (rows, out) in bytes.chunks(panel).zip(out.chunks_mut(panel)) {
        pack_panel(isa, (layout, dtype), rows, row_bytes, out);
    }
    out
}

/// A matrix `[R, C]`, in tiles.
fn packed(dtype: DType, bytes: &[u8], cols: usize) -> Vec<u8> {
    packed_as(Enabled::new(Isa::best()).unwrap(), Layout::Tiles, dtype, bytes, cols)
}

/// A matrix in every form that products take it in.
fn forms<'a>(dtype: DType, cols: usize, bytes: &'a [u8], packed: &'a [u8]) -> Vec<Matrix<'a>> {
    let rows = bytes.len() / dtype.row_bytes(cols).unwrap();
    let packed = Matrix { dtype, cols, bytes: packed, layout: Layout::Tiles };
    let stays = rows >= TILE && cols.is_multiple_of(32);
    let in_place = Matrix { bytes, layout: Layout::Rows, ..packed };
    if stays { vec![packed, in_place] } else { vec![packed] }
}

fn close(what: &str, got: &[f32], want: &(Vec<f64>, Vec<f64>)) {
    for (i, (&got, (want, size))) in got.iter().zip(want.0.iter().zip(&want.1)).enumerate() {
        let error = (f64::from(got) - want).abs();
        assert!(error <= 2e-6 * size + 1e-30, "{what}, value {i}: {got} for {want}, products {size}");
    }
}

/// Weights of all kinds of rows for a type.
fn weights(dtype: DType, rows: usize, cols: usize, random: &mut Random) -> (Vec<u8>, Vec<f32>) {
    let mut values = random.floats(rows * cols);
    for (r, row) in values.chunks_mut(cols).enumerate() {
        match r % 7 {
            1 => row.fill(0.0),
            2 => row.fill(-0.75),
            3 => row.iter_mut().for_each(|x| *x *= 1e3),
            4 => row.iter_mut().for_each(|x| *x *= 1e-5),
            5 => row[cols / 2] = 300.0,
            6 => row.iter_mut().for_each(|x| *x = x.abs() + 3.0),
            _ => {}
        }
    }
    let mut bytes = vec![0; rows * dtype.row_bytes(cols).unwrap()];
    dtype.quantize(&values, &mut bytes);
    dtype.dequantize(&bytes, &mut values);
    (bytes, values)
}

fn inputs(tokens: usize, cols: usize, random: &mut Random) -> Vec<f32> {
    let mut x = random.floats(tokens * cols);
    for (t, row) in x.chunks_mut(cols).enumerate() {
        match t % 6 {
            1 => row[cols / 3] = -1e4,
            2 => row.fill(1.0),
            3 => row.iter_mut().for_each(|x| *x *= 1e-20),
            4 => row.fill(0.0),
            5 => row.iter_mut().for_each(|x| *x *= 1e15),
            _ => {}
        }
    }
    x
}

#[test]
fn every_type_on_every_instruction_set() {
    let mut random = Random(1);
    for dtype in DType::ALL {
        let block = dtype.block_len().max(8);
        for (rows, blocks) in [(1, 1), (3, 2), (16, 1), (35, 3)] {
            let cols = block * blocks * if block == 32 { 11 } else { 1 };
            let (bytes, values) = weights(dtype, rows, cols, &mut random);
            // One byte too far: no alignment is to be relied on.
            let mut shifted = vec![0; bytes.len() + 1];
            shifted[1..].copy_from_slice(&bytes);
            let packed = packed(dtype, &bytes, cols);
            for tokens in [1, 2, 3, 4, 7, 16, 17, 28] {
                let x = inputs(tokens, cols, &mut random);
                let want = plain(&values, &x, cols);
                let forms = forms(dtype, cols, &shifted[1..], &packed);
                for (isa, m) in isas().flat_map(|isa| forms.iter().map(move |m| (isa, *m))) {
                    let what =
                        format!("{dtype} {rows}x{cols}, {tokens} tokens, {}, {:?}", isa.isa(), m.layout);
                    close(&what, &multiply(isa, m, rows, Input::Floats(&x), tokens), &want);
                    if dtype.block_len() > 1 {
                        let q = rounded(isa, &x);
                        let want = plain(&values, &back(&q), cols);
                        close(&what, &multiply(isa, m, rows, Input::Q8(&q), tokens), &want);
                    }
                }
            }
        }
    }
}

#[test]
fn company_changes_nothing() {
    let mut random = Random(2);
    for dtype in DType::ALL {
        let (rows, cols, tokens) = (33, 1280, 135);
        let (bytes, _) = weights(dtype, rows, cols, &mut random);
        let packed = packed(dtype, &bytes, cols);
        let matrices = forms(dtype, cols, &bytes, &packed);
        let x = random.floats(tokens * cols);
        for isa in isas().skip_while(|isa| isa.isa() == Isa::Scalar && Isa::best() != Isa::Scalar) {
            let q = rounded(isa, &x);
            let mut forms = vec![multiply(isa, matrices[0], rows, Input::Floats(&x), tokens)];
            if dtype.block_len() > 1 {
                forms.push(multiply(isa, matrices[0], rows, Input::Q8(&q), tokens));
            }
            let parts = [(0, 1), (5, 2), (134, 1), (60, 3), (61, 4), (3, 8), (130, 5), (20, 19)];
            for (m, (first, count)) in matrices.iter().flat_map(|m| parts.map(|part| (*m, part))) {
                let part = first * cols..(first + count) * cols;
                let groups = part.start / 32..part.end / 32;
                for (i, all) in forms.iter().enumerate() {
                    let x =
                        if i == 0 { Input::Floats(&x[part.clone()]) } else { Input::Q8(&q[groups.clone()]) };
                    let some = multiply(isa, m, rows, x, count);
                    assert!(
                        some == all[first * rows..(first + count) * rows],
                        "{dtype} {} {first}+{count}",
                        isa.isa()
                    );
                }
            }
            // Rows computed in pieces.
            for (m, (i, all)) in matrices.iter().flat_map(|m| forms.iter().enumerate().map(move |f| (m, f))) {
                let x = if i == 0 { Input::Floats(&x[..cols]) } else { Input::Q8(&q[..cols / 32]) };
                let mut pieces = vec![0.0; rows];
                for range in [0..5, 5..21, 21..33] {
                    // SAFETY: nobody else has the output.
                    unsafe { m.multiply(isa, range, x, Out::new(&mut pieces, rows)) };
                }
                assert!(pieces == all[..rows], "{dtype} {} in pieces", isa.isa());
            }
        }
    }
}

#[test]
fn instruction_sets_agree_to_the_bit() {
    let mut random = Random(3);
    for dtype in DType::ALL {
        let (rows, cols) = (16, 512);
        let (bytes, _) = weights(dtype, rows, cols, &mut random);
        let packed = packed(dtype, &bytes, cols);
        let m = Matrix { dtype, cols, bytes: &packed, layout: Layout::Tiles };
        // By groups, and by strips in all sizes of blocks.
        for tokens in [1, 20] {
            let x = random.floats(tokens * cols);
            let results: Vec<_> = isas()
                .map(|isa| {
                    let quantized = dtype.block_len() > 1;
                    let floats = multiply(isa, m, rows, Input::Floats(&x), tokens);
                    let q = rounded(isa, &x);
                    (if quantized { multiply(isa, m, rows, Input::Q8(&q), tokens) } else { vec![] }, floats)
                })
                .collect();
            assert!(results.iter().all(|r| *r == results[0]), "{dtype}, {tokens} tokens");
        }
    }
}

#[test]
fn rounding_is_that_of_the_plan() {
    let mut random = Random(4);
    let x = inputs(6, 320, &mut random);
    for isa in isas() {
        let got = back(&rounded(isa, &x));
        for (got, x) in got.chunks(320).zip(x.chunks(320)) {
            let mut want = x.to_vec();
            ingot_plan::ops::round_to_q8(&mut want);
            assert_eq!(got, want, "{}", isa.isa());
        }
        let sums_match = |q: &Q8| {
            let b = back(&[Q8 { scale: 1.0, ..*q }]);
            q.half_sums == [&b[..16], &b[16..]].map(|half| half.iter().sum::<f32>() as i32)
                && q.total == q.scale * b.iter().sum::<f32>()
        };
        assert!(rounded(isa, &x).iter().all(sums_match));
    }
}

/// Tokens `[T, C]` with so many percent of their values, the rest zeros.
fn sparse_inputs(tokens: usize, cols: usize, percent: u32, random: &mut Random) -> Vec<f32> {
    let value = |_| if random.next() % 100 < percent { random.float() } else { 0.0 };
    (0..tokens * cols).map(value).collect()
}

/// All that a product with weights in columns is held against.
fn check_columns(dtype: DType, (rows, cols): (usize, usize), x: &[f32], random: &mut Random) {
    let tokens = x.len() / cols;
    let (bytes, values) = weights(dtype, rows, cols, random);
    let tiles = packed(dtype, &bytes, cols);
    let tiles = Matrix { dtype, cols, bytes: &tiles, layout: Layout::Tiles };
    for isa in isas() {
        let columns = packed_as(isa, Layout::Columns, dtype, &bytes, cols);
        let columns = Matrix { bytes: &columns, layout: Layout::Columns, ..tiles };
        let q = rounded(isa, x);
        let what = format!("{dtype} {rows}x{cols}, {tokens} tokens, {}", isa.isa());
        let dense = multiply(isa, tiles, rows, Input::Q8(&q), tokens);
        close(&what, &dense, &plain(&values, &back(&q), cols));
        let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        let same = |x: Input, how: &str| {
            let got = multiply(isa, columns, rows, x, tokens);
            assert!(bits(&got) == bits(&dense), "{what}, {how}");
            // Any rows, not in order.
            let mut pieces = vec![f32::NAN; tokens * rows];
            let cuts = [rows * 5 / 6, rows, rows / 3, rows * 5 / 6, 0, rows / 3];
            for cut in cuts.chunks(2) {
                // SAFETY: nobody else has the output.
                unsafe { columns.multiply(isa, cut[0]..cut[1], x, Out::new(&mut pieces, rows)) };
            }
            assert!(bits(&pieces) == bits(&dense), "{what}, {how} in pieces");
        };
        same(Input::Q8(&q), "all columns");
        if tokens <= MOST_ACTIVE {
            let mut active = Active::default();
            // What was found before is forgotten.
            active.find(dtype, &rounded(isa, &vec![1.0; 2 * cols]), cols / 32);
            active.find(dtype, &q, cols / 32);
            same(Input::Active(&q, &active), "some columns");
        }
    }
}

#[test]
fn columns_give_the_same_bits() {
    let mut random = Random(5);
    for dtype in DType::ALL {
        let Some(panel) = panel_of(dtype) else { continue };
        for rows in [1, 16, panel, panel + 37, 3 * panel - 1] {
            for blocks in [1, 3] {
                let cols = if dtype.block_len() == 32 { 32 * 5 * blocks } else { 256 * blocks };
                for tokens in [1, 2, 3, 4, 5, 17] {
                    for percent in [0, 10, 50, 90, 100] {
                        let x = sparse_inputs(tokens, cols, percent, &mut random);
                        check_columns(dtype, (rows, cols), &x, &mut random);
                    }
                }
            }
        }
    }
}

#[test]
fn single_columns_give_the_same_bits() {
    let mut random = Random(6);
    for dtype in DType::ALL.into_iter().filter(|dtype| panel_of(*dtype).is_some()) {
        let cols = 256;
        // Every column of a group alone, in one token or in the last of four; values that round to zero.
        for c in (0..cols).step_by(7).chain([0, 31, 32, 255]) {
            for tokens in [1, 4] {
                let mut x = vec![0.0; tokens * cols];
                x[(tokens - 1) * cols + c] = -3.5;
                x[(tokens - 1) * cols + c / 32 * 32 + (c + 1) % 32] = 0.01;
                check_columns(dtype, (70, cols), &x, &mut random);
            }
        }
        let hard = inputs(6, cols, &mut random);
        for x in hard.chunks(cols) {
            check_columns(dtype, (70, cols), x, &mut random);
        }
    }
}

#[test]
fn only_wanted_columns_are_read() {
    let mut random = Random(7);
    for dtype in DType::ALL {
        let Some(panel) = panel_of(dtype) else { continue };
        let (rows, cols) = (panel, 512);
        let (bytes, _) = weights(dtype, rows, cols, &mut random);
        let x = sparse_inputs(1, cols, 10, &mut random);
        for isa in isas() {
            let q = rounded(isa, &x);
            let mut active = Active::default();
            active.find(dtype, &q, cols / 32);
            let mut columns = packed_as(isa, Layout::Columns, dtype, &bytes, cols);
            let multiply = |bytes: &[u8]| {
                let m = Matrix { dtype, cols, bytes, layout: Layout::Columns };
                multiply(isa, m, rows, Input::Active(&q, &active), 1)
            };
            let want = multiply(&columns);
            // Whatever the others are, nothing changes.
            let (block, row) = (dtype.block_len(), dtype.row_bytes(dtype.block_len()).unwrap());
            for (c, _) in back(&q).iter().enumerate().filter(|(_, x)| **x == 0.0) {
                let end = (c / block + 1) * panel * row;
                let at = end - 64 * (block - c % block);
                columns[at..at + 64].iter_mut().for_each(|b| *b = random.next() as u8);
            }
            assert!(multiply(&columns) == want, "{dtype} {}", isa.isa());
        }
    }
}
