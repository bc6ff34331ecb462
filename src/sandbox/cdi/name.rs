//! The rules for names of vendors, classes and devices.

/// Whether a text is `vendor/class`.
pub(super) fn is_kind(text: &str) -> bool {
    text.split_once('/').is_some_and(|(vendor, class)| is_part(vendor, "_-.") && is_part(class, "_-"))
}

/// Whether a text names a device of a class: letters, digits, `_`, `-`, `.` and `:`, the first and last a letter or digit.
pub(super) fn is_device(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && is_made_of(text, "_-.:")
}

fn is_part(text: &str, others: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && is_made_of(text, others)
}

fn is_made_of(text: &str, others: &str) -> bool {
    text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || others.contains(c))
}
