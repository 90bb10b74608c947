//! Which names are names of secrets: `api_key`, `--hf-token`, `X-Amz-Signature`, but not `eos_token`, `max_tokens` or `key_file`.

/// Words that make a name that of a secret, wherever they stand in it.
const ALWAYS: &[&str] = &[
    "apikey",
    "authorization",
    "bearer",
    "cookie",
    "credential",
    "credentials",
    "jwt",
    "passphrase",
    "passwd",
    "password",
    "pwd",
    "secret",
    "secrets",
    "signature",
];

/// Words that make a name that of a secret where they are its last word.
const LAST: &[&str] = &["auth", "key", "pass", "session", "sig", "token"];

/// Last words that alone, as in a sentence, say little: `unexpected token: }`.
const WEAK_ALONE: &[&str] = &["auth", "key", "pass", "session", "sig", "token"];

/// Words before `key`, also before `keys`, that make a name that of a secret, wherever they stand in it.
const BEFORE_KEY: &[&str] =
    &["access", "account", "api", "auth", "encryption", "private", "secret", "signing", "subscription"];

/// Words before one of [`LAST`] with which it is not a secret: `eos_token`, `cache_key`, `forward_pass`.
const HARMLESS_BEFORE: &[&str] = &[
    "add",
    "audio",
    "begin",
    "bos",
    "cache",
    "class",
    "cls",
    "dict",
    "draft",
    "end",
    "eom",
    "eos",
    "eot",
    "fim",
    "first",
    "foreign",
    "forward",
    "group",
    "image",
    "kv",
    "last",
    "mask",
    "max",
    "min",
    "n",
    "new",
    "next",
    "num",
    "output",
    "pad",
    "partition",
    "per",
    "prefix",
    "primary",
    "prompt",
    "public",
    "query",
    "second",
    "sep",
    "sort",
    "special",
    "start",
    "stop",
    "suffix",
    "think",
    "unk",
    "video",
];

/// Last words of names whose value names the place or a property of a secret: `key_env`, `--api-key-file`.
const PLACES: &[&str] = &[
    "count", "dir", "endpoint", "env", "expires", "file", "folder", "length", "limit", "name", "path", "size",
    "timeout", "ttl", "type", "uri", "url",
];

/// Ends of words that are written without separators: `hftoken`, `accesskey`.
const ENDS: &[&str] =
    &["apikey", "accesskey", "authtoken", "accesstoken", "hftoken", "privatekey", "secretkey", "sessionid"];

/// Whether the value of a variable, an option, a field, a header or a parameter of this name is probably a secret.
///
/// The name is split into words at every character that is neither a letter nor a digit, and where a capital follows a small letter.
pub fn is_secret_name(name: &str) -> bool {
    let words = words(name);
    let Some((last, before)) = words.split_last() else { return false };
    if PLACES.contains(&last.as_str()) && !before.is_empty() {
        return false;
    }
    let follows = |word: &str, one_of: &[&str]| {
        words.windows(2).any(|pair| one_of.contains(&pair[0].as_str()) && pair[1].trim_end_matches('s') == word)
    };
    words.iter().any(|word| ALWAYS.contains(&word.as_str()) || ENDS.iter().any(|end| word.ends_with(end)))
        || follows("key", BEFORE_KEY)
        || LAST.contains(&last.as_str()) && before.last().is_none_or(|word| !HARMLESS_BEFORE.contains(&word.as_str()))
}

/// Whether a name is one word that is a secret's name in a list of values, but not in a sentence.
pub(crate) fn is_weak(name: &str) -> bool {
    WEAK_ALONE.iter().any(|word| name.eq_ignore_ascii_case(word))
}

/// Whether a word before a weak name makes both a name of a secret: `API key: ...`.
pub(crate) fn strengthens(word: &str) -> bool {
    ["bearer", "hf", "session"].iter().chain(BEFORE_KEY).any(|known| word.eq_ignore_ascii_case(known))
}

fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut after_small = false;
    for c in name.chars() {
        if !c.is_alphanumeric() || c.is_uppercase() && after_small {
            words.push(String::new());
        }
        if c.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(c.to_lowercase());
        }
        after_small = c.is_lowercase();
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_secrets() {
        for name in [
            "api_key",
            "--api-key",
            "apiKey",
            "APIKEY",
            "OPENAI_API_KEY",
            "key",
            "token",
            "access_token",
            "HF_TOKEN",
            "hfToken",
            "X-Amz-Signature",
            "X-Amz-Credential",
            "X-Amz-Security-Token",
            "sig",
            "Authorization",
            "Proxy-Authorization",
            "x-api-key",
            "password",
            "db_pass",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_ACCESS_KEY_ID",
            "client_secret",
            "Set-Cookie",
            "openai.api_key",
            "exo.token",
            "--api-keys",
            "basic_auth",
            "session",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn names_of_other_things() {
        for name in [
            "",
            "max_tokens",
            "--prompt-tokens",
            "tokens",
            "eos_token",
            "add_bos_token",
            "tokenizer",
            "key_env",
            "openai.key_env",
            "--api-key-file",
            "password_file",
            "token_type",
            "cache_key",
            "monkey",
            "keyboard",
            "forward_pass",
            "bypass",
            "author",
            "cache-type-k",
            "model",
            "sessions",
            "TOKENIZERS_PARALLELISM",
            "signal",
        ] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
