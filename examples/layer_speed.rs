//! Measures how fast a directory becomes a layer and a layer a directory: `layer_speed DIRECTORY SCRATCH`.
//!
//! The scratch directory is left full.

use cooper::layer::{Compression, ReadAhead, UnpackOptions, decompress, unpack_layer};
use cooper::snapshot::upper::{LayerOptions, write_layer};
use cooper::sys::Root;
use cooper::sys::overlay::OverlayForm;
use std::error::Error;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::time::Instant;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, scratch] = &arguments[..] else { return Err("usage: layer_speed DIRECTORY SCRATCH".into()) };
    let root = Root::open(Path::new(source))?;
    for compression in [Compression::Gzip(None), Compression::Zstd(None), Compression::Uncompressed] {
        let path = Path::new(scratch).join("layer");
        let start = (Instant::now(), cpu_seconds());
        let (blob, file) =
            write_layer(&root, OverlayForm::Trusted, File::create(&path)?, compression, LayerOptions::default())?;
        drop(file);
        report(&format!("write {compression:?}"), blob.uncompressed_bytes, start);
        println!("  {} bytes, ratio {:.3}", blob.size_bytes, blob.uncompressed_bytes as f64 / blob.size_bytes as f64);
        // Trees stay: ext4 is slow to give out the inodes of files that were removed a moment ago.
        let target = Path::new(scratch).join(format!("tree-{}", blob.digest.hex()));
        std::fs::create_dir(&target)?;
        let start = (Instant::now(), cpu_seconds());
        let tar = ReadAhead::new(decompress(BufReader::new(File::open(&path)?))?)?;
        let unpacked = unpack_layer(tar, &Root::open(&target)?, UnpackOptions::new(OverlayForm::Trusted))?;
        report(&format!("unpack {compression:?}, {} entries", unpacked.entries), blob.uncompressed_bytes, start);
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    status.lines().filter(|line| line.starts_with("VmHWM")).for_each(|line| println!("{line}"));
    Ok(())
}

fn report(what: &str, bytes: u64, start: (Instant, f64)) {
    let (seconds, cpu_seconds) = (start.0.elapsed().as_secs_f64(), cpu_seconds() - start.1);
    let rate = bytes as f64 / 1e6 / seconds;
    println!("{what}: {:.0} MB in {seconds:.2} s ({cpu_seconds:.2} s of CPU), {rate:.0} MB/s", bytes as f64 / 1e6);
}

fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
