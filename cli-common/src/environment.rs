//! Settings that come by environment.

use std::env;
use std::fmt::Display;

use crate::CliError;

/// Applies a setting that the environment may hold; one that is not there, or empty, changes nothing.
///
/// # Errors
/// A usage error that names the variable and says what `apply` had against its value.
pub fn apply_environment<E: Display>(
    name: &str,
    apply: impl FnOnce(&str) -> Result<(), E>,
) -> Result<(), CliError> {
    match env::var_os(name) {
        None => Ok(()),
        Some(value) if value.is_empty() => Ok(()),
        Some(value) => apply(&value.to_string_lossy())
            .map_err(|error| CliError::usage(format!("environment variable {name}: {error}"))),
    }
}
