//! What people type to say who they are: its shape, and the form in which two of them are the same.

use platform::http::Violations;
use platform::vault::Vault;
use schemas::search::folded;
use unicode_normalization::UnicodeNormalization;

/// Reservation of an address. Its normalisation can never change.
pub(super) const EMAIL: &str = "email.v1";
/// Reservation of a user name. Its normalisation can never change.
pub(super) const USERNAME: &str = "username.v1";

/// What [`check_username`] takes, for the API's document.
pub(super) const USERNAME_PATTERN: &str = r"^\s*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]{1,48}[^\s\x00-\x1f\x7f-\x9f]\s*$";

/// What has no glyph of its own (Unicode's `Default_Ignorable_Code_Point`, as far as people can type it): it tells no two names apart.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}

/// Names compare as people read them: besides, forms of one character are one (NFKC), and what cannot be seen is not there.
fn normalised_username(text: &str) -> String {
    let text: String = text.trim().nfkc().filter(|c| !is_invisible(*c)).collect();
    text.to_lowercase().nfkc().collect::<String>().trim().to_owned()
}

/// Under which key an address is reserved.
pub(super) fn email_digest(vault: &Vault, email: &str) -> String {
    vault.digest(EMAIL, &folded(email))
}

/// Under which key a user name is reserved.
pub(super) fn username_digest(vault: &Vault, username: &str) -> String {
    vault.digest(USERNAME, &normalised_username(username))
}

/// For whom wrong passwords are counted: an address, and the hash that it is signed in with by now.
pub(super) fn lockout_subject(vault: &Vault, email: &str, stored_hash: Option<&str>) -> String {
    // A hash holds no line break, so no two pairs are written alike.
    vault.digest("lockout.v1", &format!("{}\n{}", stored_hash.unwrap_or_default(), folded(email)))
}

/// Whether it could be an address: what a server would say about it is only known by writing to it.
fn is_email(text: &str) -> bool {
    let text = text.trim();
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    text.len() <= 254
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
        && (1..=64).contains(&local.len())
        && !local.contains('@')
        && domain.contains('.')
        && domain.split('.').all(|label| !label.is_empty() && !label.starts_with('-') && !label.ends_with('-'))
}

/// Checks an address.
pub(super) fn check_email(violations: &mut Violations, email: &str) {
    violations.when(!is_email(email), "email", "must be an e-mail address of at most 254 bytes");
}

/// Checks a user name.
pub(super) fn check_username(violations: &mut Violations, username: &str) {
    let username = username.trim();
    let visible = normalised_username(username).chars().count();
    violations.when(!(3..=50).contains(&username.chars().count()) || visible < 3, "username", "must have 3 to 50 characters");
    violations.when(username.chars().any(char::is_control), "username", "must not contain control characters");
}

#[cfg(test)]
mod tests {
    use super::{folded, is_email, normalised_username};

    #[test]
    fn what_is_no_address_is_told_from_what_could_be_one() {
        for good in ["ann@example.org", " Ann.O'Neil+tag@mail.example.org ", "jörg@bücher.example", "a@b.c"] {
            assert!(is_email(good), "{good}");
        }
        let long = format!("{}@example.org", "a".repeat(65));
        let longer = format!("a@{}.org", "example.".repeat(40));
        for odd in [
            "",
            "ann",
            "@example.org",
            "ann@",
            "ann@localhost",
            "a b@example.org",
            "a@b@example.org",
            "ann@.org",
            "ann@example..org",
            "ann@-a.org",
            &long,
            &longer,
        ] {
            assert!(!is_email(odd), "{odd}");
        }
    }

    #[test]
    fn letter_case_composition_and_space_around_make_no_difference() {
        for same in [" Jörg@EXAMPLE.org\n", "JÖRG@example.ORG", "Jo\u{308}rg@example.org", "JO\u{308}RG@example.org"] {
            assert_eq!(folded(same), "jörg@example.org", "{same:?}");
        }
        for same in ["Jörg", " JO\u{308}RG ", "Ｊörg", "jö\u{200b}rg", "\u{feff}jörg\u{2060}"] {
            assert_eq!(normalised_username(same), "jörg", "{same:?}");
        }
        assert_ne!(folded("ａnn@example.org"), folded("ann@example.org"), "to a mail server these are two people");
        assert_eq!(normalised_username("ﬁ \u{130}"), normalised_username("FI i\u{307}"));
    }

    #[test]
    fn what_is_normal_stays_as_it_is() {
        for text in ["jörg", "\u{1e9e}x", "Å\u{3a9}", "\u{130}i\u{307}", "ǅ", "\u{fb03}", "한국", "\u{345}Α"] {
            let (name, email) = (normalised_username(text), folded(text));
            assert_eq!((normalised_username(&name), folded(&email)), (name, email), "{text:?}");
        }
    }
}
