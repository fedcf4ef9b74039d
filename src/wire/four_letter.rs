//! The four-letter words, as the first bytes of a connection (client-protocol.md 12.3).

macro_rules! words {
    ($($variant:ident = $text:literal,)*) => {
        /// A known word. The telnet close sequence is one too and is answered with nothing.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Word { $(#[doc = concat!("`", $text, "`")] $variant,)* /** ff f4 ff fd */ TelnetClose }

        impl Word {
            /// All that have a name.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// As it is spelled; empty for the telnet sequence.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* Self::TelnetClose => "" }
            }
        }
    };
}

words! {
    Conf = "conf", Cons = "cons", Crst = "crst", Dirs = "dirs", Dump = "dump", Envi = "envi",
    Gtmk = "gtmk", Hash = "hash", Isro = "isro", Mntr = "mntr", Ruok = "ruok", Srst = "srst",
    Srvr = "srvr", Stat = "stat", Stmk = "stmk", Wchc = "wchc", Wchp = "wchp", Wchs = "wchs",
}

impl Word {
    /// What the first four bytes of a connection spell, if they are no length.
    pub fn from_bytes(bytes: &[u8; 4]) -> Option<Self> {
        if *bytes == [0xff, 0xf4, 0xff, 0xfd] {
            return Some(Self::TelnetClose);
        }
        Self::ALL.iter().copied().find(|word| word.name().as_bytes() == bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_no_word() {
        assert_eq!(Word::from_bytes(b"ruok"), Some(Word::Ruok));
        assert_eq!(Word::from_bytes(&[0, 0, 0, 45]), None);
        assert_eq!(Word::from_bytes(b"GET "), None);
        assert_eq!(Word::ALL.len(), 18);
    }
}
