//! What a person sees while a run is under way.

/// How progress is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProgressMode {
    /// A bar on a terminal, else lines.
    Auto,
    /// A bar.
    Bar,
    /// A line every 30 seconds.
    Lines,
    /// Nothing.
    Off,
}

impl ProgressMode {
    /// The values by their words.
    pub const WORDS: [(&str, Self); 4] =
        [("auto", Self::Auto), ("bar", Self::Bar), ("lines", Self::Lines), ("off", Self::Off)];
}
