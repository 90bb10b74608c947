//! `inferometer report RUN_DIR`.

use std::path::{Path, PathBuf};

use clap::Args;
use record::Printable;
use record::plan::RUNS;
use report::FORMATS;

use super::browser;
use super::failure::Code;
use super::form::Form;
use super::output;

/// Show the report of a run, also of an interrupted or killed one
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The run folder, or its name below runs/
    run_dir: PathBuf,
    /// The format of the report
    #[arg(long, value_enum, default_value_t = Form::Text)]
    format: Form,
    /// Write report.html into the folder again and open it in a browser
    #[arg(long, conflicts_with = "format")]
    open: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Code> {
    let _span = tracing::info_span!("report", format = arguments.format.name()).entered();
    let folder = record::place(Path::new(RUNS), &arguments.run_dir)?;
    let file = analyse::complete(record::open(&folder)?);
    if arguments.open {
        let page = report::write_page(&folder, &file)?;
        browser::open(page.as_os_str())?;
        output::print(&Printable::new(&format!("{}\n", page.display())))?;
        return Ok(Code::Done);
    }
    let wanted = FORMATS.iter().find(|format| format.name == arguments.format.name());
    let shown = wanted.map(|format| (format.render)(&file, output::text_options())).unwrap_or_default();
    output::print(&shown)?;
    Ok(Code::Done)
}
