//! What STOPSIGNAL accepts: a number or one of Linux's names, with or without `SIG`.

const NAMES: &[&str] = &[
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "UNUSED", "URG",
    "USR1", "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// Returns whether a text names a signal.
pub(super) fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i32>() {
        return number != 0;
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.contains(&name) || is_realtime(name)
}

/// `RTMIN+1` to `RTMIN+15` and `RTMAX-14` to `RTMAX-1`, the names that Docker's table has.
fn is_realtime(name: &str) -> bool {
    let offset = |prefix| name.strip_prefix(prefix).and_then(|digits: &str| digits.parse::<u8>().ok());
    offset("RTMIN+").is_some_and(|n| (1..=15).contains(&n)) || offset("RTMAX-").is_some_and(|n| (1..=14).contains(&n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("9", true)]
    #[case("SIGKILL", true)]
    #[case("term", true)]
    #[case("SIGRTMIN+3", true)]
    #[case("SIGRTMIN+16", false)]
    #[case("0", false)]
    #[case("SIGNONSENSE", false)]
    fn signals(#[case] text: &str, #[case] expected: bool) {
        assert_eq!(is_signal(text), expected);
    }
}
