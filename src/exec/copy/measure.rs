//! Times of large copies, for a look by hand: `cargo test --release --lib measure -- --ignored --nocapture`.
#![allow(clippy::unwrap_used)]

use super::testtree::*;
use std::fs::File;
use std::io::Write;
use std::time::Instant;

#[test]
#[ignore = "a measurement, not a check"]
fn fifty_thousand_small_files() {
    let bench = Bench::new();
    for directory in 0..500 {
        let path = bench.source.join(format!("s/d{directory}"));
        std::fs::create_dir_all(&path).unwrap();
        for i in 0..100 {
            std::fs::write(path.join(format!("f{i}")), vec![b'x'; 200 + i * 37]).unwrap();
        }
    }
    let selection = bench.select(&["s"]);
    let start = Instant::now();
    let stats = bench.apply(&selection, &to("/t")).unwrap();
    eprintln!("{} files, {} bytes: {:?}", stats.files, stats.bytes, start.elapsed());
    let start = Instant::now();
    let (from, to) = (bench.source.join("s"), bench.dest.join("cp"));
    std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    eprintln!("cp -a: {:?}", start.elapsed());
}

#[test]
#[ignore = "a measurement, not a check"]
fn one_file_of_two_gigabytes() {
    let bench = Bench::new();
    let mut file = File::create(bench.source.join("big")).unwrap();
    let block: Vec<u8> = (0..1 << 20).map(|i: u32| (i.wrapping_mul(2654435761) >> 13) as u8).collect();
    for _ in 0..2048 {
        file.write_all(&block).unwrap();
    }
    let start = Instant::now();
    bench.copy_to(&["big"], "/big").unwrap();
    eprintln!("2 GiB: {:?}", start.elapsed());
    let start = Instant::now();
    std::process::Command::new("cp").arg(bench.source.join("big")).arg(bench.dest.join("cp")).status().unwrap();
    eprintln!("cp: {:?}", start.elapsed());
}
