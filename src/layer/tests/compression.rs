//! The bytes of a layer depend on its content alone, and what is damaged is an error.

use super::*;
use std::io::Write;

fn content(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let mut random = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 24
    };
    (0..length).map(|n| if n % 3 == 0 { random() as u8 } else { b'x' }).collect()
}

fn compress(content: &[u8], compression: Compression, threads: usize) -> (LayerBlob, Vec<u8>) {
    let mut writer = LayerWriter::with_threads(Vec::new(), compression, threads).unwrap();
    for chunk in content.chunks(70_001) {
        writer.write_all(chunk).unwrap();
    }
    writer.finish().unwrap()
}

#[test]
fn the_bytes_do_not_depend_on_the_threads() {
    let content = content(7_654_321);
    for compression in
        [Compression::Gzip(None), Compression::Gzip(Some(1)), Compression::Zstd(None), Compression::Uncompressed]
    {
        let one = compress(&content, compression, 1);
        assert_eq!(one.0.digest, crate::image::Digest::of(&one.1));
        assert_eq!(one.0.diff_id, crate::image::Digest::of(&content));
        assert_eq!((one.0.size_bytes, one.0.uncompressed_bytes), (one.1.len() as u64, content.len() as u64));
        for threads in [2, 3] {
            assert!(compress(&content, compression, threads) == one, "{compression:?} with {threads} threads");
        }
        let mut back = Vec::new();
        decompress(one.1.as_slice()).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == content, "{compression:?}");
    }
}

#[test]
fn an_error_of_the_output_reaches_the_writer() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for compression in [Compression::Gzip(None), Compression::Zstd(None), Compression::Uncompressed] {
        let mut writer = LayerWriter::with_threads(Full, compression, 2).unwrap();
        let block = content(1 << 20);
        let error = (0..100).find_map(|_| writer.write_all(&block).err());
        assert_eq!(error.unwrap().kind(), std::io::ErrorKind::StorageFull, "{compression:?}");
    }
}

fn in_all_formats(content: &[u8]) -> Vec<(Format, Vec<u8>)> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::new(6));
    let mut xz = xz2::write::XzEncoder::new(Vec::new(), 3);
    for writer in [&mut gzip as &mut dyn Write, &mut bzip2, &mut xz] {
        writer.write_all(content).unwrap();
    }
    vec![
        (Format::Gzip, gzip.finish().unwrap()),
        (Format::Bzip2, bzip2.finish().unwrap()),
        (Format::Xz, xz.finish().unwrap()),
        (Format::Zstd, zstd::bulk::compress(content, 3).unwrap()),
    ]
}

#[test]
fn every_format_is_known_and_read_in_several_parts() {
    let content = content(100_000);
    for (format, compressed) in in_all_formats(&content) {
        assert_eq!(sniff(&compressed), format);
        let twice = [compressed.as_slice(), &compressed].concat();
        let mut back = Vec::new();
        decompress(twice.as_slice()).unwrap().read_to_end(&mut back).unwrap();
        assert!(back == [content.as_slice(), &content].concat(), "{format:?}");
    }
}

#[test]
fn a_truncated_stream_is_an_error() {
    let content = content(20_000);
    for (format, compressed) in in_all_formats(&content) {
        for length in (7..compressed.len()).step_by(331).chain([compressed.len() - 1]) {
            let read = decompress(&compressed[..length]).and_then(|mut reader| reader.read_to_end(&mut Vec::new()));
            assert!(read.is_err(), "{format:?} cut at {length}");
        }
    }
}

#[test]
fn a_huge_zstd_window_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(30).unwrap();
    encoder.write_all(&content(1000)).unwrap();
    let compressed = encoder.finish().unwrap();
    assert!(decompress(compressed.as_slice()).unwrap().read_to_end(&mut Vec::new()).is_err());
}

#[test]
fn an_archive_is_known_by_its_content() {
    let tar = tar_of([Raw::file("f", b"1")]);
    assert_eq!(sniff(&tar), Format::Tar);
    for (format, compressed) in in_all_formats(&tar) {
        let mut back = Vec::new();
        open_archive(compressed.as_slice()).unwrap().unwrap().read_to_end(&mut back).unwrap();
        assert!(back == tar, "{format:?}");
    }
    assert!(open_archive(tar.as_slice()).unwrap().is_some());
    let no_tar = [0u8; 2048];
    for (format, compressed) in in_all_formats(&no_tar) {
        assert!(open_archive(compressed.as_slice()).unwrap().is_none(), "{format:?} of no tar");
    }
    for text in [&b""[..], b"text", b"BZh9 is how this text begins", b"\x1f\x8b\x08", b"PK\x03\x04", &no_tar] {
        assert!(open_archive(text).unwrap().is_none(), "{}", text.escape_ascii());
    }
}
