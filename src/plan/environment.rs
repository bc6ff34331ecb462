//! The variables that are in force at a point of a stage.

use std::collections::HashMap;
use std::sync::Arc;

/// Variables in the order in which they were last set: setting one again moves it to the end, as BuildKit does.
///
/// Each is found by its name without a search, for a stage may have very many.
#[derive(Debug, Clone, Default)]
pub(super) struct Environment {
    /// Names with values; `None` where a variable stood that was set again or removed.
    pairs: Vec<Option<(String, String)>>,
    /// Where each stands.
    places: HashMap<String, usize>,
    /// The pairs in order, once somebody asked.
    shared: Option<Arc<Vec<(String, String)>>>,
}

impl Environment {
    /// Returns the value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let place = *self.places.get(name)?;
        self.pairs.get(place)?.as_ref().map(|(_, value)| value.as_str())
    }

    /// Sets a variable.
    pub(super) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.remove(name);
        self.places.insert(name.to_owned(), self.pairs.len());
        self.pairs.push(Some((name.to_owned(), value.into())));
    }

    /// Removes a variable.
    pub(super) fn remove(&mut self, name: &str) {
        self.shared = None;
        if let Some(place) = self.places.remove(name) {
            self.pairs[place] = None;
        }
        // At most half of the places are empty, or one variable set over and over would fill the memory.
        if self.pairs.len() > 2 * self.places.len() + 16 {
            self.pairs.retain(Option::is_some);
            let names = self.pairs.iter().flatten().enumerate();
            self.places = names.map(|(place, (name, _))| (name.clone(), place)).collect();
        }
    }

    /// Returns the names.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.pairs.iter().flatten().map(|(name, _)| name.as_str())
    }

    /// Returns the pairs in order; the same ones until a variable is set or removed.
    pub(super) fn shared(&mut self) -> Arc<Vec<(String, String)>> {
        let pairs = || Arc::new(self.pairs.iter().flatten().cloned().collect());
        self.shared.get_or_insert_with(pairs).clone()
    }
}

/// The `Env` of an image config while it is added to: where each name stands.
#[derive(Debug, Clone, Default)]
pub(super) struct ConfigPlaces(HashMap<String, usize>);

impl ConfigPlaces {
    /// Notes where the names of an `Env` stand; of a name that is there twice, the first.
    pub(super) fn of(env: &[String]) -> ConfigPlaces {
        let mut places = HashMap::with_capacity(env.len());
        for (place, pair) in env.iter().enumerate() {
            places.entry(split_pair(pair).0.to_owned()).or_insert(place);
        }
        ConfigPlaces(places)
    }

    /// Sets a variable, in its place if it is there.
    pub(super) fn set(&mut self, env: &mut Vec<String>, name: &str, value: &str) {
        let pair = format!("{name}={value}");
        match self.0.get(name).and_then(|place| env.get_mut(*place)) {
            Some(known) => *known = pair,
            None => {
                self.0.insert(name.to_owned(), env.len());
                env.push(pair);
            }
        }
    }
}

/// Returns name and value of a `NAME=value` of an image config.
pub(super) fn split_pair(pair: &str) -> (&str, &str) {
    pair.split_once('=').unwrap_or((pair, ""))
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
        assert_eq!(*env.shared(), [("B".into(), "2".into()), ("A".into(), "3".into())]);
    }

    #[test]
    fn a_variable_set_over_and_over_takes_the_room_of_one() {
        let mut env = Environment::default();
        for count in 0..1000 {
            env.set("A", count.to_string());
            env.set(&format!("B{}", count % 3), "x");
            assert!(env.pairs.len() <= 32, "{}", env.pairs.len());
        }
        env.remove("B1");
        assert_eq!((env.get("A"), env.get("B1"), env.get("B2")), (Some("999"), None, Some("x")));
        assert_eq!(env.names().collect::<Vec<_>>(), ["B2", "A", "B0"]);
    }

    #[test]
    fn a_config_keeps_the_place_of_a_variable() {
        let mut env = vec!["A=1".to_owned(), "B=2".to_owned()];
        let mut places = ConfigPlaces::of(&env);
        for (name, value) in [("A", "3"), ("C", ""), ("C", "4")] {
            places.set(&mut env, name, value);
        }
        assert_eq!(env, ["A=3", "B=2", "C=4"]);
    }
}
