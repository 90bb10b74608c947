//! Tests of one file with other settings.

use super::settings::FIELDS;
use super::test::Test;

/// The name under which builds are compared.
const BUILD: &str = "build";

/// Gives every test the settings that distinguish it from others of the file, as its variant: `fa=1,ngl=99`. A field that only some
/// records have distinguishes nothing.
pub(super) fn distinguish(tests: &mut [Test]) {
    let value = |test: &Test, field: &str| match field {
        BUILD => Some(test.build().to_owned()).filter(|build| !build.is_empty()),
        field => test.settings.get(field).map(str::to_owned),
    };
    let varies = |field: &&(&str, &str)| {
        let mut values: Vec<String> = tests.iter().filter_map(|test| value(test, field.0)).collect();
        values.sort();
        values.dedup();
        values.len() > 1
    };
    let varying: Vec<&(&str, &str)> = FIELDS.iter().chain(&[(BUILD, BUILD)]).filter(varies).collect();
    let variants: Vec<String> = tests
        .iter()
        .map(|test| {
            let parts = varying.iter().filter_map(|(field, short)| Some(format!("{short}={}", value(test, field)?)));
            parts.collect::<Vec<_>>().join(",")
        })
        .collect();
    for (test, variant) in tests.iter_mut().zip(variants) {
        test.variant = variant;
    }
}
