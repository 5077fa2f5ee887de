//! What is wrong with a [`Config`](crate::Config).

use std::{borrow::Cow, fmt};

/// Everything that is wrong with a [`Config`](crate::Config), found before the first request.
///
/// Prints all of it on one line: "endpoint: `collector` is not a URL; timeout: `0ns` leaves no time for an attempt".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    mistakes: Vec<Mistake>,
}

/// One setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Mistake {
    /// The field of [`Config`](crate::Config), e.g. `tls.certificate`.
    pub setting: &'static str,
    /// What is wrong with it. Shows the value unless that may be a secret.
    pub problem: Cow<'static, str>,
}

/// Collects mistakes, so that they are told all at once.
#[derive(Debug, Default)]
pub(crate) struct Mistakes(Vec<Mistake>);

impl ConfigError {
    /// The mistakes, at least one, in the order of the settings.
    pub fn mistakes(&self) -> &[Mistake] {
        &self.mistakes
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, mistake) in self.mistakes.iter().enumerate() {
            let separator = if i == 0 { "" } else { "; " };
            write!(f, "{separator}{}: {}", mistake.setting, mistake.problem)?;
        }
        Ok(())
    }
}

impl Mistakes {
    pub(crate) fn add(&mut self, setting: &'static str, problem: impl Into<Cow<'static, str>>) {
        let problem = problem.into();
        self.0.push(Mistake { setting, problem });
    }

    /// `Err` with all of them, unless there are none.
    pub(crate) fn into_result(self) -> Result<(), ConfigError> {
        match self.0 {
            mistakes if mistakes.is_empty() => Ok(()),
            mistakes => Err(ConfigError { mistakes }),
        }
    }
}

impl From<ConfigError> for Mistakes {
    /// To go on collecting after a part that has told its own.
    fn from(error: ConfigError) -> Self {
        Self(error.mistakes)
    }
}
