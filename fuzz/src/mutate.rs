//! Runs a target on mutations of its corpus, with any compiler: `mutate TARGET SECONDS [SEED]`.
//!
//! Knows nothing of coverage; what it lacks in aim it has in being there where libFuzzer is not.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long one input may take.
const SLOW: Duration = Duration::from_secs(2);
/// The largest input.
const MAX_BYTES: usize = 16 << 10;

type Target = fn(&[u8]);

const TARGETS: [(&str, Target, &[&str]); 5] = [
    (
        "parser",
        cooper_fuzz::parser,
        &["FROM ", " AS ", "\\\n", "<<EOF", "\nEOF\n", "# check=", "--mount=type=", "[\"a\"]", "ENV a b\n", "$", "ONBUILD "],
    ),
    ("expansion", cooper_fuzz::expansion, &["${", "}", ":-", ":?", "//", "##", "%%", "$a", "\\", "'", "\""]),
    ("ignore", cooper_fuzz::ignore, &["**", "/", "!", "[", "]", "[^a-z]", "\\", "\n", "?", "..", "\0"]),
    ("reference", cooper_fuzz::reference, &["/", ":", "@sha256:", "localhost", ".", "-", "_", "[::1]", ":80"]),
    ("tar", cooper_fuzz::tar, &["ustar\0", "x", "g", "\0\0\0\0", "777", "GNU.sparse.map=", "path="]),
];

/// A generator of random numbers (xorshift64*): small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below.max(1)
    }
}

fn mutate(input: &mut Vec<u8>, other: &[u8], words: &[&str], random: &mut Random) {
    for _ in 0..=random.next(6) {
        let at = random.next(input.len() + 1);
        let end = (at + random.next(24)).min(input.len());
        match random.next(7) {
            0 if at < input.len() => input[at] ^= 1 << random.next(8),
            1 => drop(input.drain(at..end)),
            2 => input.insert(at, random.next(256) as u8),
            3 => drop(input.splice(at..at, words[random.next(words.len())].bytes())),
            4 => {
                let copy = input[at..end].repeat(1 + random.next(8));
                input.splice(at..at, copy);
            }
            5 => {
                let from = random.next(other.len() + 1);
                input.splice(at..end, other[from..].iter().copied().take(200));
            }
            _ if at < input.len() => input[at] = b"\n \t\"'$\\\0#={}"[random.next(12)],
            _ => {}
        }
    }
    input.truncate(MAX_BYTES);
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let files = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut inputs: Vec<_> = files.filter_map(|file| std::fs::read(file.path()).ok()).collect();
    inputs.push(Vec::new());
    inputs
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let name = args.first().map_or("parser", String::as_str);
    let seconds = args.get(1).and_then(|text| text.parse().ok()).unwrap_or(10);
    let seed = args.get(2).and_then(|text| text.parse().ok()).unwrap_or(1);
    let Some((_, target, words)) = TARGETS.iter().find(|(known, ..)| *known == name) else {
        eprintln!("there is no target {name}");
        std::process::exit(2);
    };
    let (inputs, mut random) = (corpus(name), Random(seed | 1));
    let mut pool = inputs.clone();
    let (end, mut runs, mut findings) = (Instant::now() + Duration::from_secs(seconds), 0u64, 0);
    while Instant::now() < end {
        let mut input = pool[random.next(pool.len())].clone();
        let other = inputs[random.next(inputs.len())].clone();
        mutate(&mut input, &other, words, &mut random);
        let start = Instant::now();
        let failed = catch_unwind(AssertUnwindSafe(|| target(&input))).is_err();
        runs += 1;
        if failed || start.elapsed() > SLOW {
            findings += 1;
            let path = format!("{name}-{findings}");
            println!("{} {path}: {:?}", if failed { "panic" } else { "slow" }, start.elapsed());
            let _ = std::fs::write(&path, &input);
            if findings == 20 {
                break;
            }
        } else if random.next(50) == 0 && pool.len() < 500 {
            pool.push(input);
        }
    }
    println!("{name}: {runs} inputs, {findings} findings");
    std::process::exit(i32::from(findings > 0));
}
