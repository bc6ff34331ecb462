#![allow(clippy::unwrap_used)]

use super::agent::answer;
use super::key::{Key, KeyError};
use super::wire::{Reader, put_string};
use super::{Agent, AgentSocket};
use rstest::rstest;
use std::path::Path;
use std::process::Command;

/// Makes a key with OpenSSH's tool; `None` where it is not installed.
fn generate(directory: &Path, arguments: &[&str]) -> Option<Vec<u8>> {
    let file = directory.join("key");
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-C", "me@here", "-f"]).arg(&file).args(arguments);
    if !arguments.contains(&"-N") {
        command.args(["-N", ""]);
    }
    match command.status() {
        Ok(status) => assert!(status.success()),
        Err(_) => {
            eprintln!("skipped: no ssh-keygen");
            return None;
        }
    }
    Some(std::fs::read(file).unwrap())
}

fn public_of(directory: &Path) -> Vec<u8> {
    use base64::Engine;
    let text = std::fs::read_to_string(directory.join("key.pub")).unwrap();
    base64::engine::general_purpose::STANDARD.decode(text.split(' ').nth(1).unwrap()).unwrap()
}

#[rstest]
#[case(&["-t", "ed25519"], 0, "ssh-ed25519")]
#[case(&["-t", "rsa", "-b", "2048"], 4, "rsa-sha2-512")]
#[case(&["-t", "rsa", "-b", "2048", "-m", "PEM"], 2, "rsa-sha2-256")]
#[case(&["-t", "rsa", "-b", "3072", "-m", "PKCS8"], 6, "rsa-sha2-512")]
#[case(&["-t", "ecdsa", "-b", "256"], 0, "ecdsa-sha2-nistp256")]
#[case(&["-t", "ecdsa", "-b", "384"], 0, "ecdsa-sha2-nistp384")]
#[case(&["-t", "ecdsa", "-b", "384", "-m", "PEM"], 0, "ecdsa-sha2-nistp384")]
#[case(&["-t", "ecdsa", "-b", "256", "-m", "PKCS8"], 0, "ecdsa-sha2-nistp256")]
fn a_key_is_listed_and_signs(#[case] arguments: &[&str], #[case] flags: u32, #[case] algorithm: &str) {
    let directory = tempfile::tempdir().unwrap();
    let Some(file) = generate(directory.path(), arguments) else { return };
    let keys = [Key::parse(&file).unwrap()];
    let public = public_of(directory.path());

    let list = answer(&keys, &[11]);
    let mut list = Reader(&list[..]);
    assert_eq!((list.byte(), list.number()), (Some(12), Some(1)));
    assert_eq!(list.string(), Some(&public[..]));
    let is_openssh = !arguments.contains(&"-m");
    assert_eq!(list.string(), Some(if is_openssh { &b"me@here"[..] } else { b"" }));

    let mut request = vec![13];
    put_string(&mut request, &public);
    put_string(&mut request, b"data");
    request.extend(flags.to_be_bytes());
    let signed = answer(&keys, &request);
    let mut signed = Reader(&signed[..]);
    assert_eq!(signed.byte(), Some(14));
    let mut signature = Reader(signed.string().unwrap());
    assert_eq!(signature.string(), Some(algorithm.as_bytes()));
    assert!(signature.string().is_some_and(|signature| !signature.is_empty()));
}

#[rstest]
#[case(&["-t", "ed25519"])]
#[case(&["-t", "rsa", "-b", "2048"])]
#[case(&["-t", "rsa", "-b", "2048", "-m", "PEM"])]
#[case(&["-t", "ecdsa", "-b", "256"])]
#[case(&["-t", "ecdsa", "-b", "384"])]
fn the_tools_of_openssh_list_the_key_and_believe_its_signature(#[case] arguments: &[&str]) {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let Some(file) = generate(directory.path(), arguments) else { return };
    let keys = vec![Key::parse(&file).unwrap()];
    std::fs::remove_file(path("key")).unwrap();
    let _socket = AgentSocket::open(path("socket"), Agent::Keys(keys), 0o600, 0, 0).unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).env("SSH_AUTH_SOCK", path("socket")).current_dir(directory.path());
        let stdin = std::fs::File::open(path("key.pub")).unwrap();
        let output = command.stdin(stdin).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let public = std::fs::read_to_string(path("key.pub")).unwrap();
    let shown: Vec<&str> = public.split(' ').take(2).collect();
    assert!(run("ssh-add", &["-L"]).starts_with(&shown.join(" ")));
    std::fs::copy(path("key.pub"), path("text")).unwrap();
    run("ssh-keygen", &["-q", "-Y", "sign", "-f", "key.pub", "-n", "test", "text"]);
    run("ssh-keygen", &["-q", "-Y", "check-novalidate", "-n", "test", "-s", "text.sig"]);
}

#[test]
fn only_keys_that_are_there_sign_and_never_with_sha_1() {
    let directory = tempfile::tempdir().unwrap();
    let Some(file) = generate(directory.path(), &["-t", "rsa", "-b", "2048"]) else { return };
    let keys = [Key::parse(&file).unwrap()];
    let request = |public: &[u8], flags: u32| {
        let mut request = vec![13];
        put_string(&mut request, public);
        put_string(&mut request, b"data");
        request.extend(flags.to_be_bytes());
        answer(&keys, &request)
    };
    let public = public_of(directory.path());
    assert_eq!(request(&public, 2)[0], 14);
    assert_eq!(request(&public, 0), [5]);
    assert_eq!(request(b"other", 2), [5]);
    for harmful in [&[][..], &[17], &[18], &[19], &[22], &[27], &[13], &[13, 255, 255, 255, 255]] {
        assert_eq!(answer(&keys, harmful), [5], "{harmful:?}");
    }
}

#[rstest]
#[case(&["-t", "ed25519", "-N", "secret"], KeyError::Encrypted)]
#[case(&["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "secret"], KeyError::Encrypted)]
#[case(&["-t", "rsa", "-b", "2048", "-m", "PKCS8", "-N", "secret"], KeyError::Encrypted)]
#[case(&["-t", "rsa", "-b", "1024"], KeyError::Size)]
#[case(&["-t", "rsa", "-b", "1024", "-m", "PEM"], KeyError::Size)]
#[case(&["-t", "ecdsa", "-b", "521"], KeyError::Kind("ecdsa-sha2-nistp521".into()))]
#[case(&["-t", "ecdsa", "-b", "521", "-m", "PEM"], KeyError::Kind("ECDSA with a curve other than P-256 and P-384".into()))]
fn keys_that_are_not_served_say_why(#[case] arguments: &[&str], #[case] expected: KeyError) {
    let directory = tempfile::tempdir().unwrap();
    let Some(file) = generate(directory.path(), arguments) else { return };
    assert_eq!(Key::parse(&file).unwrap_err(), expected);
}

#[test]
fn what_is_no_key_is_told_from_a_damaged_one() {
    assert_eq!(Key::parse(b"hello").unwrap_err(), KeyError::NotAKey);
    assert_eq!(Key::parse(b"\xff\xfe").unwrap_err(), KeyError::NotAKey);
    let public = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
    assert_eq!(Key::parse(public.as_bytes()).unwrap_err(), KeyError::NotAKey);
    assert_eq!(Key::parse(b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n").unwrap_err(), KeyError::Damaged);
    let directory = tempfile::tempdir().unwrap();
    let Some(file) = generate(directory.path(), &["-t", "ed25519"]) else { return };
    let text = String::from_utf8(file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for cut in 1..lines.len() - 1 {
        let shorter = [&lines[..cut], &lines[lines.len() - 1..]].concat().join("\n");
        assert_eq!(Key::parse(shorter.as_bytes()).unwrap_err(), KeyError::Damaged, "{shorter}");
    }
}
