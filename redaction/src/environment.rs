//! The secrets in the environment of the process.

use std::ffi::OsString;

use crate::is_secret_name;
use crate::known::remember;
use crate::text::{Syntax, scan};

/// Variables of the shell that name folders.
const SHELL_FOLDERS: [&str; 2] = ["PWD", "OLDPWD"];

/// Remembers the secrets of the environment: the values of variables with names such as `HF_TOKEN`, and the user information of
/// addresses in all variables.
pub fn learn_environment(variables: impl Iterator<Item = (OsString, OsString)>) {
    for (name, value) in variables {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        // The shell's names of the current and the last folder, in spite of `pwd`.
        if SHELL_FOLDERS.contains(&&*name) {
            continue;
        }
        if is_secret_name(&name) {
            remember(&value);
        } else if value.contains("://") {
            let mut found = Vec::new();
            scan(&value, Syntax::Message, &mut found);
            found.iter().for_each(|secret| remember(secret));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::without_known;

    #[test]
    fn the_environment_is_searched() {
        let variables = [
            ("MY_TOKEN", "env-tok-1"),
            ("DATABASE", "db://u:env-pw-2@h"),
            ("MY_TOKEN_FILE", "/run/t-3"),
            ("PWD", "/home/me/work-4"),
            ("OLDPWD", "/home/me/work-5"),
        ];
        learn_environment(variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))));
        let shown = without_known("env-tok-1 env-pw-2 /run/t-3 /home/me/work-4/x /home/me/work-5");
        assert_eq!(shown, "*** *** /run/t-3 /home/me/work-4/x /home/me/work-5");
    }
}
