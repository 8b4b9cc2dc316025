//! Policy files: which files, their content, and all their errors.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use xshield_policy::document::{self, Document, MAX_TEXT, Policy};

use crate::error::CliError;
use crate::session::failed;

/// Consistent documents, as far as can be told without the platform.
#[derive(Debug)]
pub(crate) struct PolicyFiles {
    /// In the order of the files' names.
    pub(crate) documents: Vec<Document>,
    /// The file of each document.
    sources: Vec<String>,
}

impl PolicyFiles {
    /// Reads every `*.yaml` and `*.yml` below the directories, and the files as they are named; `-` is
    /// standard input. Hidden files are skipped.
    ///
    /// # Errors
    /// All errors, each with its file, line and column.
    pub(crate) fn read(paths: &[PathBuf]) -> Result<Self, CliError> {
        let mut files = Vec::new();
        for path in paths {
            collect(path, &mut files)?;
        }
        Self::parse(files.iter().map(|path| read_text(path).map(|text| (shown(path), text))))
    }

    fn parse(
        texts: impl Iterator<Item = Result<(String, String), CliError>>,
    ) -> Result<Self, CliError> {
        let (mut documents, mut sources, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        for text in texts {
            let (name, text) = text?;
            match document::parse(&text, &name) {
                Ok(parsed) => {
                    sources.extend(parsed.iter().map(|_| name.clone()));
                    documents.extend(parsed);
                }
                Err(error) => errors.push(error.to_string()),
            }
        }
        if !errors.is_empty() {
            return Err(CliError::Documents(errors));
        }
        let files = Self { documents, sources };
        files.check()?;
        Ok(files)
    }

    fn check(&self) -> Result<(), CliError> {
        if self.documents.is_empty() {
            // An empty input is never read as "allow" or "delete everything".
            return Err(CliError::input(
                "the files hold no documents; an empty policy is written as: settings: {}",
            ));
        }
        let Err(errors) = Policy::build(self.documents.clone()) else { return Ok(()) };
        let line = |error: document::PolicyError| match (&error.place, self.source(error.document))
        {
            (None, Some(source)) => format!("{source}: {error}"),
            _ => error.to_string(),
        };
        Err(CliError::Documents(errors.into_iter().map(line).collect()))
    }

    /// The file of a document.
    pub(crate) fn source(&self, document: usize) -> Option<&str> {
        self.sources.get(document).map(String::as_str)
    }

    /// Adds the file's name to errors in which the platform refers to a document by its number.
    pub(crate) fn name_sources(&self, mut error: CliError) -> CliError {
        if let CliError::Refused { refusal, .. } = &mut error {
            for error in refusal.errors_mut() {
                let number = error.field.strip_prefix("/documents/");
                let number = number.and_then(|rest| rest.split('/').next()?.parse().ok());
                if let Some(source) = number.and_then(|number| self.source(number)) {
                    error.place.get_or_insert_with(|| source.to_owned());
                }
            }
        }
        error
    }
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), CliError> {
    let standard_input = path == Path::new("-");
    if standard_input || !fs::metadata(path).map_err(failed("read", path))?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let before = files.len();
    collect_tree(path, files)?;
    if files.len() == before {
        return Err(CliError::input(format!(
            "{}: the directory has no *.yaml or *.yml file",
            path.display()
        )));
    }
    Ok(())
}

fn collect_tree(dir: &Path, files: &mut Vec<PathBuf>) -> Result<(), CliError> {
    let entries = fs::read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = entries.map_err(failed("read", dir))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let is_link = entry.file_type().map_err(failed("read", &path))?.is_symlink();
        let is_dir = fs::metadata(&path).map_err(failed("read", &path))?.is_dir();
        let is_policy = path.extension().is_some_and(|ending| ending == "yaml" || ending == "yml");
        match (is_dir, is_link) {
            // It may lead back to a parent.
            (true, true) => {
                return Err(CliError::input(format!(
                    "{}: a symbolic link to a directory is not followed; name the directory itself",
                    path.display()
                )));
            }
            (true, false) => collect_tree(&path, files)?,
            (false, _) if is_policy => files.push(path),
            (false, _) => {}
        }
    }
    Ok(())
}

fn shown(path: &Path) -> String {
    if path == Path::new("-") { "<stdin>".to_owned() } else { path.display().to_string() }
}

/// A file's text; not much more is read than a policy may have.
fn read_text(path: &Path) -> Result<String, CliError> {
    let mut bytes = Vec::new();
    let most = MAX_TEXT as u64 + 1;
    let read = if path == Path::new("-") {
        io::stdin().take(most).read_to_end(&mut bytes)
    } else {
        fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    read.map_err(failed("read", path))?;
    // An oversized file is refused as such even when it is cut inside a character.
    if bytes.len() > MAX_TEXT {
        let name = shown(path);
        return Err(CliError::input(format!("{name}: larger than {MAX_TEXT} bytes")));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        let start = good.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let column = 1 + String::from_utf8_lossy(&good[start..]).chars().count();
        CliError::Documents(vec![format!("{}:{line}:{column}: not UTF-8", shown(path))])
    })
}

#[cfg(test)]
mod tests {
    use xshield_api::changes::title;

    use super::*;

    const NETWORK: &str = "network:\n  name: office\n  cidrs: [10.0.0.0/8]\n";

    fn read(dir: &Path) -> Result<PolicyFiles, String> {
        PolicyFiles::read(&[dir.to_owned()])
            .map_err(|error| error.report().replace(&dir.display().to_string(), "DIR"))
    }

    fn write(dir: &Path, name: &str, text: impl AsRef<[u8]>) {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn yaml_files_of_a_directory_tree_are_read_in_order() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "b.yml", NETWORK);
        write(
            dir.path(),
            "a/z.yaml",
            "segment: { name: z, criteria: role = 'z' }\n---\nsettings: {}\n",
        );
        write(dir.path(), "a/notes.txt", "not policy");
        write(dir.path(), ".git/x.yaml", "not: policy");
        std::os::unix::fs::symlink(dir.path().join("b.yml"), dir.path().join(".hidden.yml"))
            .unwrap();
        let files = read(dir.path()).unwrap();
        let titles: Vec<_> = files.documents.iter().map(title).collect();
        assert_eq!(titles, ["segment z", "settings", "network office"]);
        assert!(files.source(2).unwrap().ends_with("b.yml"));
        assert_eq!(files.source(3), None);
    }

    #[test]
    fn every_invalid_file_is_named_with_line_and_column() {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), "a.yaml", "segment:\n  name: web\n");
        write(dir.path(), "b.yaml", NETWORK);
        write(dir.path(), "c.yaml", "network:\n  name: n\n  cidrs: [10.0.0.1/8]\n");
        let error = read(dir.path()).unwrap_err();
        let lines: Vec<_> = error.lines().collect();
        assert_eq!(lines.len(), 2, "{error}");
        assert!(lines[0].starts_with("DIR/a.yaml:2:3: missing field `criteria`"), "{error}");
        assert!(lines[1].starts_with("DIR/c.yaml:3:11: "), "{error}");
    }

    #[test]
    fn references_across_files_are_checked_and_errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        write(
            dir.path(),
            "a.yaml",
            "segment:\n  name: web\n  criteria: role = 'web'\n  templates: [nope]\n",
        );
        write(dir.path(), "b.yaml", "settings: {}\n---\nsettings: {}\n");
        write(
            dir.path(),
            "c.yaml",
            "template: { name: t, action: allow, inbound: [{ from: [any], services: [] }] }\n",
        );
        insta::assert_snapshot!(read(dir.path()).unwrap_err(), @r#"
        DIR/b.yaml: settings: given twice; the first is document 2 of the set
        DIR/a.yaml:4:15: segment web, templates[0]: there is no template "nope"
        DIR/c.yaml:1:56: template t, inbound[0].services: empty: add an entry, or write 'any'
        "#);
    }

    #[test]
    fn other_yaml_documents_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).unwrap_err().contains("has no *.yaml"));
        assert!(read(&dir.path().join("gone")).unwrap_err().contains("could not read"));
        write(dir.path(), "a.yaml", "# nothing yet\n");
        assert!(read(dir.path()).unwrap_err().contains("no documents"));
        write(dir.path(), "a.yaml", b"settings: {}\n# \xc3\xa9\xff\n");
        assert_eq!(read(dir.path()).unwrap_err(), "DIR/a.yaml:2:4: not UTF-8");
        write(dir.path(), "a.yaml", vec![b'#'; MAX_TEXT + 10]);
        assert!(read(dir.path()).unwrap_err().contains("larger than"));
        write(dir.path(), "a.yaml", NETWORK);
        std::os::unix::fs::symlink(dir.path(), dir.path().join("loop")).unwrap();
        assert!(read(dir.path()).unwrap_err().contains("not followed"));
    }
}
