//! The part of Go's templates that scripts use with `--format`: `{{.Field.Field}}` and `{{json .Field}}`.

use super::diagnostic::clean;
use crate::diag::{Diagnostic, Exit, nearest};
use serde_json::Value;
use std::str::FromStr;

/// Text with fields in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field { path: Vec<String>, is_json: bool },
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Template, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let (action, after) = after.split_once("}}").ok_or("a `{{` is not closed")?;
            pieces.push(Piece::Text(unescaped(before)));
            pieces.push(field(action.trim())?);
            rest = after;
        }
        pieces.push(Piece::Text(unescaped(rest)));
        Ok(Template(pieces))
    }
}

/// As with docker, `\t` and `\n` are what they are in Go.
fn unescaped(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

fn field(action: &str) -> Result<Piece, String> {
    let (is_json, path) = match action.strip_prefix("json ") {
        Some(path) => (true, path.trim()),
        None => (false, action),
    };
    let unknown =
        || format!("`{{{{{action}}}}}` is not understood: there are `{{{{.Field}}}}` and `{{{{json .Field}}}}`");
    let path = path.strip_prefix('.').ok_or_else(unknown)?;
    let names: Vec<String> = if path.is_empty() { Vec::new() } else { path.split('.').map(str::to_owned).collect() };
    let is_name = |name: &String| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_');
    if names.iter().all(is_name) { Ok(Piece::Field { path: names, is_json }) } else { Err(unknown()) }
}

impl Template {
    /// Fills the fields in.
    pub fn apply(&self, value: &Value) -> Result<String, Diagnostic> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Field { path, is_json } => {
                    let value = path.iter().try_fold(value, |value, name| lookup(value, name))?;
                    let json = || crate::progress::json_line(value);
                    let shown = if *is_json { json() } else { Ok(shown(value)) };
                    text.push_str(&shown.map_err(|error| Diagnostic::from_error(Exit::Bug, &error))?);
                }
            }
        }
        Ok(text)
    }
}

fn lookup<'a>(value: &'a Value, name: &str) -> Result<&'a Value, Diagnostic> {
    match value {
        Value::Object(fields) => fields.get(name).ok_or_else(|| {
            let diagnostic = Diagnostic::error(Exit::Usage, format!("there is no field `{name}`"));
            match nearest(name, fields.keys().map(String::as_str)) {
                Some(near) => diagnostic.hint(format!("did you mean `{near}`?")),
                None => diagnostic.hint(format!(
                    "there are {}",
                    fields.keys().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ")
                )),
            }
        }),
        _ => Err(Diagnostic::error(Exit::Usage, format!("there is no field `{name}` in what is no object"))),
    }
}

/// Returns a value as Go prints it: texts bare, lists in brackets.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => clean(text),
        Value::Array(items) => format!("[{}]", items.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(key, value)| format!("{}:{}", clean(key), shown(value))).collect();
            format!("map[{}]", fields.join(" "))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_filled_in_as_go_does() {
        let value =
            json!({"ID": "ab", "Config": {"Env": ["A=b", "C=d"], "Labels": {"k": "v"}}, "Size": 5, "None": null});
        let apply = |text: &str| text.parse::<Template>().unwrap().apply(&value).unwrap();
        assert_eq!(apply("{{.ID}}:{{ .Size }}"), "ab:5");
        assert_eq!(apply("{{.Config.Env}} {{.Config.Labels}}{{.None}}"), "[A=b C=d] map[k:v]");
        assert_eq!(apply(r#"{{json .Config.Env}}\t{{json .ID}}"#), "[\"A=b\",\"C=d\"]\t\"ab\"");
    }

    #[test]
    fn what_is_not_understood_is_said() {
        for bad in ["{{", "{{range .X}}", "{{.A..B}}", "{{index .X 0}}", "{{ID}}"] {
            assert!(bad.parse::<Template>().is_err(), "{bad}");
        }
        let error = "{{.Id}}".parse::<Template>().unwrap().apply(&json!({"ID": 1})).unwrap_err();
        assert_eq!(
            (error.message.as_str(), error.hints),
            ("there is no field `Id`", vec!["did you mean `ID`?".to_owned()])
        );
    }
}
