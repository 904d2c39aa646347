//! What people type to say who they are: its shape, and the form in which two of them are the same.

use platform::http::Violations;
use platform::vault::Vault;

/// Reservation of an address. Its normalisation can never change.
pub(super) const EMAIL: &str = "email.v1";
/// Reservation of a user name. Its normalisation can never change.
pub(super) const USERNAME: &str = "username.v1";

/// What [`check_username`] takes, for the API's document.
pub(super) const USERNAME_PATTERN: &str = r"^\s*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]{1,48}[^\s\x00-\x1f\x7f-\x9f]\s*$";

/// Addresses and names compare without case and without the space around them.
fn normalised(text: &str) -> String {
    text.trim().to_lowercase()
}

/// Under which key an address is reserved.
pub(super) fn email_digest(vault: &Vault, email: &str) -> String {
    vault.digest(EMAIL, &normalised(email))
}

/// Under which key a user name is reserved.
pub(super) fn username_digest(vault: &Vault, username: &str) -> String {
    vault.digest(USERNAME, &normalised(username))
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
    violations.when(!(3..=50).contains(&username.chars().count()), "username", "must have 3 to 50 characters");
    violations.when(username.chars().any(char::is_control), "username", "must not contain control characters");
}

#[cfg(test)]
mod tests {
    use super::{is_email, normalised};

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
    fn letter_case_and_space_around_make_no_difference() {
        assert_eq!(normalised(" Jörg@EXAMPLE.org\n"), "jörg@example.org");
        assert_eq!(normalised("JÖRG@example.ORG"), "jörg@example.org");
    }
}
