//! Labels from closed sets: a label's value never comes off the wire.

use std::marker::PhantomData;

use metrics::Counter;

/// A closed set of label values.
pub trait Label: Copy + 'static {
    /// Every value, in the order of [`Label::index`].
    const ALL: &'static [Self];
    /// Its place in [`Label::ALL`].
    fn index(self) -> usize;
    /// The label's text.
    fn label(self) -> &'static str;
}

/// One label, or a tuple of them: what a series of a metric is told apart by.
pub trait Labels: Copy + 'static {
    /// How many combinations there are.
    fn count() -> usize;
    /// Its place among them.
    fn place(self) -> usize;
    /// The texts of the combination at `place`, one for each label, in order.
    fn texts(place: usize) -> Vec<&'static str>;
}

impl<L: Label> Labels for L {
    fn count() -> usize {
        L::ALL.len()
    }

    fn place(self) -> usize {
        self.index()
    }

    fn texts(place: usize) -> Vec<&'static str> {
        vec![L::ALL[place].label()]
    }
}

impl<A: Label, B: Label> Labels for (A, B) {
    fn count() -> usize {
        A::ALL.len() * B::ALL.len()
    }

    fn place(self) -> usize {
        self.0.index() * B::ALL.len() + self.1.index()
    }

    fn texts(place: usize) -> Vec<&'static str> {
        vec![A::ALL[place / B::ALL.len()].label(), B::ALL[place % B::ALL.len()].label()]
    }
}

impl<A: Label, B: Label, C: Label> Labels for (A, B, C) {
    fn count() -> usize {
        A::ALL.len() * <(B, C)>::count()
    }

    fn place(self) -> usize {
        self.0.index() * <(B, C)>::count() + (self.1, self.2).place()
    }

    fn texts(place: usize) -> Vec<&'static str> {
        let mut texts = vec![A::ALL[place / <(B, C)>::count()].label()];
        texts.extend(<(B, C)>::texts(place % <(B, C)>::count()));
        texts
    }
}

/// One counter for each value of a closed set, or for each combination of several.
pub struct Counters<L> {
    counters: Vec<Counter>,
    of: PhantomData<fn(L)>,
}

impl<L: Labels> Counters<L> {
    /// Counters by [`Labels::place`], made by `register` from the texts of each.
    pub(super) fn new(register: impl FnMut(Vec<&'static str>) -> Counter) -> Self {
        Self { counters: (0..L::count()).map(L::texts).map(register).collect(), of: PhantomData }
    }

    /// The counter of `labels`.
    pub fn of(&self, labels: L) -> &Counter {
        &self.counters[labels.place()]
    }
}

/// Declares an enum that is a closed set of label values, each with its text.
///
/// ```text
/// label_set! {
///     /// Which way bytes flow.
///     pub enum Direction {
///         /// From the device to the instance.
///         FromDevice = "from-device",
///     }
/// }
/// ```
macro_rules! label_set {
    ($(#[$doc:meta])* $vis:vis enum $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        $vis enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $crate::telemetry::Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant),+];

            fn index(self) -> usize {
                self as usize
            }

            fn label(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }
    };
}

pub(crate) use label_set;
