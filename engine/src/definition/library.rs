//! The workflows that come with the program, by name.
//!
//! Rule: texts only; they are read like any file, when somebody asks for them.

use std::collections::BTreeMap;

/// Built-in workflows: name to YAML text.
#[derive(Debug, Clone, Default)]
pub struct Library {
    texts: BTreeMap<String, String>,
}

impl Library {
    /// The later of two texts with the same name counts.
    pub fn new<N: Into<String>, T: Into<String>>(texts: impl IntoIterator<Item = (N, T)>) -> Self {
        Self { texts: texts.into_iter().map(|(name, text)| (name.into(), text.into())).collect() }
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// In order of the alphabet.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.texts.keys().map(String::as_str)
    }

    /// What stands for the file name in problems of a built-in workflow.
    pub fn file_of(name: &str) -> String {
        format!("built-in:{name}")
    }
}
