//! The small languages of flag values: Go's booleans, docker's sizes, CSV fields.
//!
//! `docker buildx build` is written in Go, and scripts rely on what its parsers accept; the rules here are theirs.

/// Returns the meaning of a boolean flag's value, as Go's `strconv.ParseBool` has it.
pub fn parse_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("`{text}` is neither `true` nor `false`")),
    }
}

/// Returns a size in bytes: a number with an optional unit in powers of 1024 (`64m`, `1.5G`, `512KiB`).
pub fn parse_size(text: &str) -> Result<u64, String> {
    let bad = || format!("`{text}` is not a size such as `64m` or `1.5g`");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| bad())?;
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let power = match unit.trim_end_matches('b').trim_end_matches('i') {
        "" if unit.len() <= 1 => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return Err(bad()),
    };
    if unit.len() > 3 || unit.ends_with("bb") {
        return Err(bad());
    }
    let bytes = number * 1024f64.powi(power);
    if !bytes.is_finite() || bytes >= i64::MAX as f64 {
        return Err(format!("`{text}` is too large"));
    }
    Ok(bytes as u64)
}

/// Splits one CSV record (RFC 4180) into its fields; quotes keep commas, `""` in quotes is a quote.
pub fn parse_fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => plain_field(rest)?,
        };
        fields.push(field);
        match after {
            Some(next) => rest = next,
            None => return Ok(fields),
        }
    }
}

type Field<'a> = (String, Option<&'a str>);

fn plain_field(text: &str) -> Result<Field<'_>, String> {
    let (field, after) = match text.split_once(',') {
        Some((field, after)) => (field, Some(after)),
        None => (text, None),
    };
    if field.contains('"') {
        return Err(format!("a quote stands inside the unquoted field `{field}`; quote the whole field"));
    }
    Ok((field.to_owned(), after))
}

fn quoted_field(text: &str) -> Result<Field<'_>, String> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let Some((part, after)) = rest.split_once('"') else {
            return Err("a quoted field has no closing quote".to_owned());
        };
        field.push_str(part);
        match after.chars().next() {
            None => return Ok((field, None)),
            Some(',') => return Ok((field, Some(&after[1..]))),
            Some('"') => {
                field.push('"');
                rest = &after[1..];
            }
            Some(_) => return Err(format!("text follows the closing quote of the field `{field}`")),
        }
    }
}

/// Splits a CSV record into `key=value` pairs; keys are trimmed and in lower case, but for names of annotations.
pub fn parse_pairs(text: &str) -> Result<Vec<(String, String)>, String> {
    let fields = parse_fields(text)?;
    fields
        .iter()
        .map(|field| match field.split_once('=') {
            Some((key, value)) if key.starts_with("annotation") => Ok((key.to_owned(), value.to_owned())),
            Some((key, value)) => Ok((key.trim().to_lowercase(), value.to_owned())),
            None => Err(format!("`{field}` is not of the form `key=value`")),
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_those_of_go() {
        for text in ["1", "t", "T", "true", "TRUE", "True"] {
            assert_eq!(parse_bool(text), Ok(true), "{text}");
        }
        for text in ["0", "f", "F", "false", "FALSE", "False"] {
            assert_eq!(parse_bool(text), Ok(false), "{text}");
        }
        for text in ["", "yes", "tRUE", "on", "2"] {
            assert!(parse_bool(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_those_of_docker() {
        for (text, bytes) in [
            ("0", 0),
            ("32", 32),
            ("32b", 32),
            ("32k", 32 << 10),
            ("32KB", 32 << 10),
            ("32Kib", 32 << 10),
            ("64m", 64 << 20),
            ("64 m", 64 << 20),
            ("1.5G", 3 << 29),
            ("1t", 1 << 40),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "m", "-1", "1x", "1mm", "1bb", "1mibb", "32ib1", "1e3", "99999999999p", "1 2m"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn csv_keeps_quoted_commas_and_quotes() {
        assert_eq!(parse_fields("a=1,b=2").unwrap(), ["a=1", "b=2"]);
        assert_eq!(
            parse_fields(r#"type=image,"name=a:1,b:2",push=true"#).unwrap(),
            ["type=image", "name=a:1,b:2", "push=true"]
        );
        assert_eq!(parse_fields(r#""say ""hi""","#).unwrap(), [r#"say "hi""#, ""]);
        for bad in [r#"a"b"#, r#""a"#, r#""a"b"#] {
            assert!(parse_fields(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_pairs("Type=local, DEST=out").unwrap()[1], ("dest".into(), "out".into()));
        assert!(parse_pairs("type=local,dest").is_err());
    }
}
