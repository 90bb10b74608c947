//! GGUF files in parts, as llama.cpp's `llama-gguf-split` writes them: `NAME-00001-of-00003.gguf`. The first part has the keys; the
//! tensors are in all parts.

use std::path::{Path, PathBuf};

use crate::container::gguf::File;
use crate::error::{Error, Mismatch};

/// Advice where parts do not belong together.
pub(super) const ALL_PARTS: &str = "the parts are of different models: take all of them from one place";

/// A part, according to its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Folder and name in front of `-00001-of-00003.gguf`.
    prefix: PathBuf,
    /// Counts from 1.
    pub(crate) number: usize,
    /// All parts.
    pub(crate) count: usize,
    /// `gguf` as the name spells it.
    extension: String,
}

impl Part {
    /// The part that a file's name states.
    pub(crate) fn of_name(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str().filter(|extension| extension.eq_ignore_ascii_case("gguf"))?;
        let stem = path.file_stem()?.to_str()?;
        let (rest, count) = stem.rsplit_once("-of-")?;
        let (name, number) = rest.rsplit_once('-')?;
        let number_of = |text: &str| text.parse().ok().filter(|number| *number > 0 && text.len() == 5);
        let (number, count) = (number_of(number)?, number_of(count)?);
        (number <= count).then(|| Self {
            prefix: path.with_file_name(name),
            number,
            count,
            extension: extension.to_owned(),
        })
    }

    /// The file of part `number`.
    pub(crate) fn file(&self, number: usize) -> PathBuf {
        let mut name = self.prefix.clone().into_os_string();
        name.push(format!("-{number:05}-of-{:05}.{}", self.count, self.extension));
        PathBuf::from(name)
    }

    /// The file of the first part.
    pub(crate) fn first(&self) -> PathBuf {
        self.file(1)
    }
}

/// The other parts of the model whose first part, `first`, is at `path`, with their paths.
///
/// # Errors
/// If the file is another part than the first, a part is missing, or the parts do not belong together.
pub(super) fn open_others(path: &Path, first: &File) -> Result<Vec<(PathBuf, File)>, Error> {
    let (number, count) = position(first)?;
    if count <= 1 {
        return Ok(Vec::new());
    }
    let refused = |found: String, advice: String| Err(Error::NotAModel { path: path.to_path_buf(), found, advice });
    let found = format!("it is part {number} of {count} of a model");
    let Some(name) = Part::of_name(path).filter(|part| part.count == count && part.number == number) else {
        let expected = format!("-{number:05}-of-{count:05}.gguf");
        return refused(
            format!("{found}, and its name does not end in {expected}, so that the other parts cannot be found"),
            "give all parts their original names".to_owned(),
        );
    };
    if number != 1 {
        let first = name.first();
        let state = if first.is_file() { "" } else { ", which is missing" };
        return refused(found, format!("give the first part, {}{state}", first.display()));
    }
    let files: Vec<PathBuf> = (2..=count).map(|number| name.file(number)).collect();
    let (there, missing): (Vec<_>, Vec<_>) = files.iter().cloned().partition(|file| file.is_file());
    if !missing.is_empty() {
        let there = if there.is_empty() { "no other part".to_owned() } else { super::listing::names(&there) };
        let found = format!("{found}; the folder has {there}, and lacks {}", super::listing::names(&missing));
        return refused(found, "fetch the missing parts into the same folder".to_owned());
    }
    let mut parts = Vec::new();
    for (file, number) in files.into_iter().zip(2..) {
        let part = File::open(&file)?;
        let own = position(&part)?;
        if own != (number, count) {
            let (expected, found) = (format!("part {number} of {count}"), format!("part {} of {}", own.0, own.1));
            return Err(Error::Gguf(Mismatch::at(&file, "keys `split.*`", expected, found, ALL_PARTS)));
        }
        parts.push((file, part));
    }
    let tensors = |file: &File| file.header.tensors.len();
    let all = tensors(first) + parts.iter().map(|(_, part)| tensors(part)).sum::<usize>();
    let metadata = &first.header.metadata;
    if let Some(expected) = metadata.count("split.tensors.count")?.filter(|expected| *expected != all) {
        let (expected, found) = (format!("{expected} tensors in all parts"), all.to_string());
        let place = "key `split.tensors.count`";
        return Err(Error::Gguf(Mismatch::at(path, place, expected, found, ALL_PARTS)));
    }
    Ok(parts)
}

/// The number of a part, counted from 1, and of all parts; 1 of 1 for a whole file.
fn position(file: &File) -> Result<(usize, usize), Error> {
    let count = |key: &str| file.header.metadata.count(key);
    Ok((count("split.no")?.unwrap_or(0).saturating_add(1), count("split.count")?.unwrap_or(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_known_by_their_names() {
        let part = Part::of_name(Path::new("/m/big-Q4_0-00002-of-00003.gguf")).unwrap();
        assert_eq!((part.number, part.count), (2, 3));
        assert_eq!(part.first(), Path::new("/m/big-Q4_0-00001-of-00003.gguf"));
        for other in [
            "big.gguf",
            "big-1-of-3.gguf",
            "big-00004-of-00003.gguf",
            "big-00000-of-00003.gguf",
            "x-00001-of-00003.bin",
        ] {
            assert_eq!(Part::of_name(Path::new(other)), None, "{other}");
        }
    }
}
