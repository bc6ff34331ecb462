//! Sizes and times as people read them.

use std::time::Duration;

/// Returns a size in powers of 1000, as `docker` and BuildKit write it: `512B`, `1.05MB`.
pub fn bytes(size_bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if size_bytes < 1000 {
        return format!("{size_bytes}B");
    }
    let mut value = size_bytes as f64 / 1000.0;
    let mut unit = 0;
    // What would be rounded to 1000.00 belongs to the next unit.
    while value >= 999.995 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

/// Returns a time in seconds with one digit after the point: `1.2s`.
pub fn seconds(time: Duration) -> String {
    format!("{:.1}s", time.as_secs_f64())
}

/// Returns the time stamp of a line of output: three digits after the point, fewer as the time grows.
pub fn stamp(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    let digits = if seconds < 10.0 {
        3
    } else if seconds < 100.0 {
        2
    } else {
        1
    };
    format!("{seconds:.digits$}")
}

/// Returns how far a transfer is: `1.05MB / 3.10MB`, or `1.05MB` where the whole is not known.
pub fn transfer(current_bytes: u64, total_bytes: u64) -> String {
    match total_bytes {
        0 => bytes(current_bytes),
        _ => format!("{} / {}", bytes(current_bytes), bytes(total_bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_times() {
        assert_eq!(bytes(0), "0B");
        assert_eq!(bytes(999), "999B");
        assert_eq!(bytes(1000), "1.00kB");
        assert_eq!(bytes(999_999), "1.00MB");
        assert_eq!(bytes(1_050_000), "1.05MB");
        assert_eq!(bytes(u64::MAX), "18.45EB");
        assert_eq!(seconds(Duration::from_millis(1249)), "1.2s");
        assert_eq!(stamp(Duration::from_millis(123)), "0.123");
        assert_eq!(stamp(Duration::from_millis(12_345)), "12.35");
        assert_eq!(stamp(Duration::from_millis(123_456)), "123.5");
        assert_eq!(transfer(1000, 0), "1.00kB");
    }
}
