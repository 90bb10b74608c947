//! The one redaction of this program: which parts of a text are secret, and types that never show them.
//!
//! Values that a user gives are held by types whose `Debug`, `Display` and `Serialize` show [`MARK`] in place of secrets: [`Secret`]
//! (a key or a token), [`Url`] (user information is kept apart) and [`Sensitive`] (a command, a setting, an address). The bytes for
//! the network are reached only by their `expose` methods.
//!
//! Texts from outside, such as the error messages of servers and libraries, go through [`redact`]: it knows the usual forms of
//! secrets, and every value that one of the types above has held. [`without_known`] replaces only those values;
//! everything that is printed or stored goes through it at the end.

mod encoding;
mod environment;
mod known;
mod name;
mod parts;
mod secret;
mod sensitive;
mod text;
mod url;

pub use environment::learn_environment;
pub use known::without_known;
pub use name::is_secret_name;
pub use secret::Secret;
pub use sensitive::{Sensitive, exposed_map, exposed_option};
pub use text::redact;
pub use url::Url;

/// What is shown in place of a secret.
pub const MARK: &str = "***";
