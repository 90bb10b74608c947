//! Ctrl-C: the first one ends the run and keeps its results, the second one ends the program.

use measure::interrupt::Interrupt;

/// Listens to SIGINT, SIGTERM and SIGHUP. Call once.
///
/// # Errors
/// When the system refuses the handler.
pub(super) fn listen() -> anyhow::Result<Interrupt> {
    let interrupt = Interrupt::default();
    let set = interrupt.clone();
    ctrlc::set_handler(move || {
        if set.is_set() {
            end();
        }
        set.set();
        super::output::complain("\ninterrupted: saving the results (press again to end at once)\n");
    })?;
    Ok(interrupt)
}

#[allow(
    clippy::disallowed_methods,
    reason = "the user interrupted twice; all files are valid at any time, and workers end with this process"
)]
fn end() -> ! {
    std::process::exit(130)
}
