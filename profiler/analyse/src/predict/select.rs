//! Which runs an estimate may rest on.

use std::path::{Path, PathBuf};

use record::Error;
use record::{Case, RunFile, Tool, files};
use statistics::median;

/// A run teaches nothing of its engine if other programs took more than this share of the processors, in the median request.
const OTHERS: f64 = 0.2;

/// Runs found, newest first, and those left out with the reason.
#[derive(Debug, Default)]
pub struct Runs {
    /// May teach.
    pub used: Vec<RunFile>,
    /// May not, one line each.
    pub skipped: Vec<String>,
}

/// Reads the runs below a folder, newest first: those of this machine (`machine`, the digest of its ceilings, where it is known),
/// by a program of this version and build, whole and in real time. A folder that does not exist holds none.
///
/// # Errors
/// When the folder cannot be listed.
pub fn below(folder: &Path, machine: Option<&str>, tool: &Tool) -> Result<Runs, Error> {
    let mut runs = Runs::default();
    if !folder.exists() {
        return Ok(runs);
    }
    let list = std::fs::read_dir(folder).map_err(Error::file(folder, "list"))?;
    let mut places: Vec<PathBuf> =
        list.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| path.join(files::RUN).exists()).collect();
    places.sort();
    for place in places {
        match crate::open(&place) {
            Err(error) => runs.skipped.push(error.to_string()),
            Ok(file) => match refused(&file, machine, tool) {
                Some(reason) => runs.skipped.push(format!("{}: {reason}", file.name)),
                None => runs.used.push(file),
            },
        }
    }
    runs.used.sort_by(|a, b| b.started.cmp(&a.started));
    Ok(runs)
}

/// Reads the runs that were named, newest first; whoever names them answers for them.
///
/// # Errors
/// When one cannot be read.
pub fn named(places: &[PathBuf]) -> Result<Runs, Error> {
    let mut used = places.iter().map(|place| crate::open(place)).collect::<Result<Vec<_>, _>>()?;
    used.sort_by(|a, b| b.started.cmp(&a.started));
    Ok(Runs { used, skipped: Vec::new() })
}

/// Why a run may not teach.
fn refused(file: &RunFile, machine: Option<&str>, tool: &Tool) -> Option<String> {
    let build =
        |tool: &Tool| (tool.version.clone(), tool.profile.clone(), tool.target.clone(), tool.target_features.clone());
    let own = file.ceilings.as_ref().map(|ceilings| ceilings.machine.as_str());
    if file.plan.virtual_time {
        Some("its time is virtual".to_owned())
    } else if file.interrupted || file.finished.is_none() {
        Some("it was cut short".to_owned())
    } else if own.is_none() && file.ceiling_probes.is_empty() {
        Some("it has no ceilings".to_owned())
    } else if machine.is_some() && own.is_some() && machine != own {
        Some("it was measured on another machine, or on this one before it changed".to_owned())
    } else if build(&file.tool) != build(tool) {
        let Tool { version, profile, .. } = &file.tool;
        Some(format!("it was measured by another build (version {version}, {profile}, or other processor features)"))
    } else {
        let disturbed = others(file).filter(|share| *share > OTHERS);
        disturbed.map(|share| format!("other programs took {:.0} % of the processors", share * 100.0))
    }
}

/// Share of the processors that others took, programs and hypervisor, in the median request.
fn others(file: &RunFile) -> Option<f64> {
    let samples = file.cases.iter().flat_map(Case::clean_samples);
    let shares = samples.filter_map(|sample| Some(sample.load_others? + sample.steal.unwrap_or(0.0)));
    median(&shares.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ceilings, run_file};
    use super::*;

    #[test]
    fn only_like_runs_teach() {
        let tool = Tool { version: "1".to_owned(), profile: "release".to_owned(), ..Tool::default() };
        let good = || {
            let spec = models::registry::find("smollm2-135m").unwrap().spec.clone();
            let own = super::super::Subject::synthetic("m", "m", spec, models::synth::Quant::Q8_0, None).unwrap();
            let mut file = run_file(&[&own]);
            file.tool = tool.clone();
            file.finished = Some("2026-01-01T00:00:00Z".to_owned());
            file.ceilings = Some(ceilings(&[1], 20e9, 200e9));
            file
        };
        let machine = ceilings(&[1], 1.0, 1.0).machine;
        let told = |change: fn(&mut RunFile)| {
            let mut file = good();
            change(&mut file);
            refused(&file, Some(&machine), &tool)
        };
        assert_eq!(told(|_| {}), None);
        for (change, word) in [
            ((|file| file.plan.virtual_time = true) as fn(&mut RunFile), "virtual"),
            (|file| file.interrupted = true, "cut short"),
            (|file| file.finished = None, "cut short"),
            (|file| file.ceilings = None, "no ceilings"),
            (|file| file.ceilings.as_mut().unwrap().machine = "other".to_owned(), "another machine"),
            (|file| file.tool.profile = "debug".to_owned(), "another build"),
            (
                |file| file.cases[0].samples.iter_mut().for_each(|sample| sample.load_others = Some(0.5)),
                "other programs",
            ),
        ] {
            assert!(told(change).is_some_and(|reason| reason.contains(word)), "{word}");
        }
    }
}
