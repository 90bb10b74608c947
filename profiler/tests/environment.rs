//! The environment of recorded machines: every figure, and a reason for every missing one.

use meter::root::Root;
use record::Recorded;
use record::environment::Environment;
use report::environment_properties;

fn machine(name: &str) -> Environment {
    let mut found = meter::environment::read(&Root::recorded(format!(
        "{}/tests/fixtures/machines/{name}",
        env!("CARGO_MANIFEST_DIR")
    )));
    // These come from the running program, not from the recorded files.
    found.processor.usable_threads = Recorded::absent("it is not recorded");
    found.memory.page_bytes = Recorded::absent("it is not recorded");
    found.host.architecture = "recorded".to_owned();
    found
}

#[test]
fn a_virtual_machine() {
    insta::assert_json_snapshot!(machine("kvm-epyc"));
}

#[test]
fn a_laptop_on_battery() {
    insta::assert_json_snapshot!(machine("laptop"));
}

#[test]
fn an_arm_board_in_a_container() {
    insta::assert_json_snapshot!(machine("arm-board"));
}

#[test]
fn every_absent_figure_has_a_reason() {
    for name in ["kvm-epyc", "laptop", "arm-board", "nothing-at-all"] {
        let value = serde_json::to_value(machine(name)).unwrap();
        for part in ["host", "processor", "memory", "limits", "power", "state"] {
            let fields = value[part].as_object().unwrap();
            for (field, _) in fields.iter().filter(|(_, value)| value.is_null()) {
                assert!(fields["reasons"].get(field).is_some(), "{name}: {part}.{field} is null without a reason");
            }
        }
    }
}

#[test]
fn a_report_shows_it() {
    let properties = environment_properties(&machine("laptop"));
    insta::assert_snapshot!(properties.iter().map(|(name, value)| format!("{name}: {value}\n")).collect::<String>());
}

#[test]
fn it_is_equal_after_writing_and_reading() {
    let before = machine("kvm-epyc");
    let after: Environment = serde_json::from_str(&serde_json::to_string(&before).unwrap()).unwrap();
    assert_eq!(before, after);
}
