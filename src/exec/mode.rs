//! `--chmod`: an octal mode or symbolic clauses as chmod(1) has them.
//!
//! Symbolic modes change the mode that a source has, with no umask.  Of the BSD implementation that BuildKit uses one
//! quirk is not kept: there `+rt` without a class sets the sticky bit alone.

/// What `--chmod` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModeSpec {
    /// A mode of up to twelve bits.
    Octal(u32),
    /// Changes in order.
    Symbolic(Vec<Change>),
}

/// One change of a symbolic mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The bits it may touch.
    who: u32,
    operator: Operator,
    operand: Operand,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Add,
    Remove,
    Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operand {
    /// These bits.
    Bits(u32),
    /// `X`: the execute bits, for directories and where one is set already.
    ExecuteIfAny,
    /// The bits that a class has, by its shift: 6 user, 3 group, 0 others.
    CopyOf(u32),
}

/// A `--chmod` that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// Looks like a number and is none, or is too large.
    #[error("invalid chmod parameter: `{text}`, it should be an octal string between 0 and 07777")]
    Octal {
        /// As written.
        text: String,
    },
    /// Is not a list of clauses like `u=rw,go-w`.
    #[error("invalid chmod parameter: `{text}`, invalid syntax of a symbolic mode")]
    Symbolic {
        /// As written.
        text: String,
    },
}

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const ALL: u32 = SETUID | SETGID | 0o777;

/// Reads the value of `--chmod`.
pub fn parse_chmod(text: &str) -> Result<ModeSpec, ModeError> {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return match u32::from_str_radix(text, 8) {
            Ok(mode) if mode <= 0o7777 => Ok(ModeSpec::Octal(mode)),
            _ => Err(ModeError::Octal { text: text.to_owned() }),
        };
    }
    let mut changes = Vec::new();
    for clause in text.split(',') {
        parse_clause(clause, &mut changes).ok_or_else(|| ModeError::Symbolic { text: text.to_owned() })?;
    }
    Ok(ModeSpec::Symbolic(changes))
}

/// Reads `[ugoa]*([-+=][rwxXstugo]*)+`.
fn parse_clause(clause: &str, changes: &mut Vec<Change>) -> Option<()> {
    let operators = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    let classes = &clause[..clause.len() - operators.len()];
    let mut who = 0;
    for class in classes.chars() {
        who |= match class {
            'u' => SETUID | 0o700,
            'g' => SETGID | 0o070,
            'o' => 0o007,
            _ => ALL,
        };
    }
    let mut rest = operators.chars().peekable();
    rest.peek()?;
    while let Some(operator) = rest.next() {
        let operator = match operator {
            '+' => Operator::Add,
            '-' => Operator::Remove,
            '=' => Operator::Set,
            _ => return None,
        };
        let mut permissions = String::new();
        while let Some(permission) = rest.next_if(|c| "rwxXstugo".contains(*c)) {
            permissions.push(permission);
        }
        parse_permissions(&permissions, who, operator, changes);
    }
    Some(())
}

fn parse_permissions(permissions: &str, who: u32, operator: Operator, changes: &mut Vec<Change>) {
    let (mut bits, mut execute_if_any, mut copies) = (0, false, Vec::new());
    for permission in permissions.chars() {
        match permission {
            'r' => bits |= 0o444,
            'w' => bits |= 0o222,
            'x' => bits |= 0o111,
            'X' if operator == Operator::Remove => bits |= 0o111,
            'X' => execute_if_any = true,
            // Meaningless for others alone.
            's' if who != 0o007 => bits |= SETUID | SETGID,
            't' if who != 0o007 => bits |= STICKY,
            'u' => copies.push(6),
            'g' => copies.push(3),
            'o' => copies.push(0),
            _ => {}
        }
    }
    let touched = if who == 0 { ALL } else { who } | (bits & STICKY);
    if bits != 0 || (operator == Operator::Set && copies.is_empty()) {
        changes.push(Change { who: touched, operator, operand: Operand::Bits(bits) });
    }
    for shift in copies {
        changes.push(Change { who: touched, operator, operand: Operand::CopyOf(shift) });
    }
    if execute_if_any {
        changes.push(Change { who: touched, operator: Operator::Add, operand: Operand::ExecuteIfAny });
    }
}

impl ModeSpec {
    /// Returns the mode (12 bits) that a thing of the given mode gets.
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match self {
            ModeSpec::Octal(octal) => *octal,
            ModeSpec::Symbolic(changes) => {
                let has_execute = is_directory || mode & 0o111 != 0;
                changes.iter().fold(mode & 0o7777, |mode, change| change.apply(mode, has_execute))
            }
        }
    }

    /// Returns the mode of directories that are made on the way: an octal mode without setuid, setgid and sticky bits.
    pub fn made_directory(&self) -> u32 {
        match self {
            ModeSpec::Octal(octal) => octal & 0o777,
            ModeSpec::Symbolic(_) => 0o755,
        }
    }
}

impl Change {
    fn apply(self, mode: u32, has_execute: bool) -> u32 {
        let bits = self.who
            & match self.operand {
                Operand::Bits(bits) => bits,
                Operand::ExecuteIfAny if has_execute => 0o111,
                Operand::ExecuteIfAny => 0,
                Operand::CopyOf(shift) => 0o111 * (mode >> shift & 0o7),
            };
        let cleared = match self.operand {
            // Copying a class leaves setuid and setgid as they are.
            Operand::CopyOf(_) => self.who & 0o777,
            _ => self.who,
        };
        match self.operator {
            Operator::Add => mode | bits,
            Operator::Remove => mode & !bits,
            Operator::Set => mode & !cleared | bits,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn modes_follow_chmod() {
        for (text, mode, is_directory, expected) in [
            ("644", 0o777, false, 0o644),
            ("1777", 0o755, true, 0o1777),
            ("4755", 0o600, false, 0o4755),
            ("go-w", 0o666, false, 0o644),
            ("u=rw,g=r", 0o777, false, 0o647),
            ("a+X", 0o644, false, 0o644),
            ("a+X", 0o744, false, 0o755),
            ("a+X", 0o644, true, 0o755),
            ("+x", 0o644, false, 0o755),
            ("u=rwx,go=rx", 0o600, false, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("go=u-w", 0o700, false, 0o755),
            ("go=", 0o777, false, 0o700),
            ("=", 0o777, false, 0),
            ("g=u", 0o640, false, 0o660),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, true, 0o2755),
            ("o+s", 0o755, true, 0o755),
            ("+t", 0o777, true, 0o1777),
            ("a-st", 0o7777, true, 0o777),
            ("u=rwx", 0o4644, false, 0o744),
            ("a-X", 0o755, false, 0o644),
            ("u+x-w", 0o644, false, 0o544),
        ] {
            assert_eq!(parse_chmod(text).unwrap().apply(mode, is_directory), expected, "{text} on {mode:o}");
        }
    }

    #[test]
    fn bad_modes_are_errors_that_name_them() {
        for text in ["10000", "64a", "8", "99999999999999"] {
            assert_eq!(parse_chmod(text), Err(ModeError::Octal { text: text.into() }));
        }
        for text in ["u+q", "", "rw", "u", "u+r,", ",", "u+r g", "-7", "é+x"] {
            assert_eq!(parse_chmod(text), Err(ModeError::Symbolic { text: text.into() }), "{text}");
        }
    }

    #[test]
    fn made_directories_take_an_octal_mode_without_special_bits() {
        assert_eq!(parse_chmod("1777").unwrap().made_directory(), 0o777);
        assert_eq!(parse_chmod("go-rx").unwrap().made_directory(), 0o755);
    }
}
