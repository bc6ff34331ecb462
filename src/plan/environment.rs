//! The variables that are in force at a point of a stage.

/// Variables in the order in which they were last set: setting one again moves it to the end, as BuildKit does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Environment(Vec<(String, String)>);

impl Environment {
    /// Returns the value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Sets a variable.
    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.into()));
    }

    /// Removes a variable.
    pub(super) fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }

    /// Returns the names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// Returns the pairs in order.
    pub(super) fn to_vec(&self) -> Vec<(String, String)> {
        self.0.clone()
    }
}

/// Returns name and value of a `NAME=value` of an image config.
pub(super) fn split_pair(pair: &str) -> (&str, &str) {
    pair.split_once('=').unwrap_or((pair, ""))
}

/// Sets a variable in the `Env` of an image config, in its place if it is there.
pub(super) fn set_in_config(env: &mut Vec<String>, name: &str, value: &str) {
    let pair = format!("{name}={value}");
    match env.iter_mut().find(|known| split_pair(known).0 == name) {
        Some(known) => *known = pair,
        None => env.push(pair),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_set_again_moves_to_the_end() {
        let mut env = Environment::default();
        for (name, value) in [("A", "1"), ("B", "2"), ("A", "3")] {
            env.set(name, value);
        }
        assert_eq!(env.to_vec(), [("B".into(), "2".into()), ("A".into(), "3".into())]);
    }

    #[test]
    fn a_config_keeps_the_place_of_a_variable() {
        let mut env = vec!["A=1".to_owned(), "B=2".to_owned()];
        set_in_config(&mut env, "A", "3");
        set_in_config(&mut env, "C", "");
        assert_eq!(env, ["A=3", "B=2", "C="]);
    }
}
