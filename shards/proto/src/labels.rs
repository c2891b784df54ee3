//! Enums whose variants are metric labels: a fixed list, an index for counters, and one spelling for every reader.

/// Declares a field-less enum with `ALL`, `COUNT`, `index()` and `label()`.
/// The doc comment of a variant is its line in the documentation.
#[macro_export]
macro_rules! labels {
    (
        $(#[$meta:meta])*
        pub enum $name:ident { $( $(#[$vmeta:meta])* $variant:ident => $label:literal, )+ }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $( $(#[$vmeta])* $variant, )+ }

        impl $name {
            /// Every variant, in the order of `index`.
            pub const ALL: &'static [Self] = &[ $( Self::$variant, )+ ];
            /// How many variants there are: the size of a counter table.
            pub const COUNT: usize = Self::ALL.len();

            /// The row of this variant in a counter table.
            #[must_use]
            pub const fn index(self) -> usize {
                self as usize
            }

            /// The spelling used in metrics, logs and documents.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $( Self::$variant => $label, )+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.label())
            }
        }
    };
}
