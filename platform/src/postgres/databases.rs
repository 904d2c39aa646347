//! Databases and roles: where they are, and how they come to be.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection};

use super::pools::{connect, options};
use super::{READER, Service};
use crate::config::{self, ServerUrl, StartError};
use crate::crash::crash_point;

/// Held while databases and roles are made, so that two starts do it one after the other.
const INSTALLING: i64 = 0x706f_7374_7269_0001;

/// Where each service's database is, and as whom to connect.
#[derive(Debug, Clone)]
pub struct Databases {
    own: BTreeMap<Service, ServerUrl>,
    reader: BTreeMap<Service, ServerUrl>,
    keys: ServerUrl,
}

impl Databases {
    /// Whether some service has no database of its own in the configuration, so that a server is needed to make one.
    #[must_use]
    pub fn need_a_server(config: &config::Postgres) -> bool {
        Service::ALL.iter().any(|service| service.given(config).is_none())
    }

    /// Makes the databases and roles that are missing on `server`, for the services that have no URL of their own. Safe to repeat, to
    /// interrupt, and to run twice at once.
    ///
    /// # Errors
    /// When the server cannot be reached, or its user lacks a right; says which.
    pub async fn prepare(config: &config::Postgres, server: &ServerUrl) -> Result<Self, StartError> {
        let made: Vec<_> = Service::ALL.into_iter().filter(|service| service.given(config).is_none()).collect();
        let passwords = if made.is_empty() { BTreeMap::new() } else { install(server, &made).await? };
        Self::with(config, server, &passwords)
    }

    /// Where they are, when an earlier [`Databases::prepare`] has made them; makes nothing. `None`: nothing has been made on this server yet.
    ///
    /// # Errors
    /// When the server cannot be reached, or its user may not see.
    pub async fn find(config: &config::Postgres, server: &ServerUrl) -> Result<Option<Self>, StartError> {
        if !Self::need_a_server(config) {
            return Self::with::<String>(config, server, &BTreeMap::new()).map(Some);
        }
        let Some(passwords) = kept_passwords(server).await? else { return Ok(None) };
        let roles = Service::ALL.into_iter().filter(|service| service.given(config).is_none()).map(Service::role);
        if !roles.chain([READER]).all(|role| passwords.contains_key(role)) {
            return Ok(None);
        }
        Self::with(config, server, &passwords).map(Some)
    }

    fn with<R: Borrow<str> + Ord>(
        config: &config::Postgres,
        server: &ServerUrl,
        passwords: &BTreeMap<R, String>,
    ) -> Result<Self, StartError> {
        let url_of = |role: &str, database: &str| -> Result<ServerUrl, StartError> {
            let password = passwords.get(role).ok_or_else(|| StartError::new(format!("the role {role} has no password")))?;
            let url = options(server)?.username(role).password(password).database(database).to_url_lossy();
            Ok(ServerUrl::new(url.to_string()))
        };
        let (mut own, mut reader) = (BTreeMap::new(), BTreeMap::new());
        for service in Service::ALL {
            match service.given(config) {
                // Who names a database has decided as whom to use it; there is no second role that we could know.
                Some(url) => {
                    own.insert(service, url.clone());
                    reader.insert(service, url.clone());
                }
                None => {
                    own.insert(service, url_of(service.role(), service.database())?);
                    reader.insert(service, url_of(READER, service.database())?);
                }
            }
        }
        let keys = config.keys_url.set().unwrap_or(&own[&Service::Auth]).clone();
        Ok(Self { own, reader, keys })
    }

    /// A service's database, as its owner.
    #[must_use]
    pub fn url(&self, service: Service) -> &ServerUrl {
        &self.own[&service]
    }

    /// A service's database, as the reader.
    #[must_use]
    pub fn as_reader(&self, service: Service) -> &ServerUrl {
        &self.reader[&service]
    }

    /// The key store, as its owner.
    #[must_use]
    pub fn keys(&self) -> &ServerUrl {
        &self.keys
    }
}

/// Makes databases, roles and rights; answers every role's password.
async fn install(server: &ServerUrl, services: &[Service]) -> Result<BTreeMap<&'static str, String>, StartError> {
    let mut admin = connect(server, "install").await?;
    let user: String = ask(&mut admin, "SELECT current_user::text", "say who we are").await?;
    let admin = Admin { server, user };
    // The passwords live in auth_db, which is made first, and before the lock that its other contents need: advisory locks belong to a database.
    let mut first = connect(server, "install").await?;
    admin.create_database(&mut first, Service::Auth.database()).await?;
    let _closing = first.close().await;
    let home = options(server)?.database(Service::Auth.database()).to_url_lossy().to_string();
    let mut connection = connect(&ServerUrl::new(home), "install").await?;
    let locked = connection.execute(AssertSqlSafe(format!("SET lock_timeout = '60s'; SELECT pg_advisory_lock({INSTALLING})"))).await;
    locked.map_err(|error| StartError::because(format!("another start has been making databases on {server} for a minute"), error))?;

    crash_point("install.first_database");
    admin.keep_passwords(&mut connection).await?;
    let mut passwords = BTreeMap::new();
    for role in services.iter().map(|service| service.role()).chain([READER]) {
        passwords.insert(role, admin.role(&mut connection, role).await?);
    }
    for service in services {
        admin.create_database(&mut connection, service.database()).await?;
        crash_point("install.before_grants");
        admin.grant(&mut connection, *service).await?;
    }
    let _closing = connection.close().await;
    Ok(passwords)
}

/// What [`install`] left behind; `None`: it has not been there.
async fn kept_passwords(server: &ServerUrl) -> Result<Option<BTreeMap<String, String>>, StartError> {
    let mut first = connect(server, "look").await?;
    let made = exists(&mut first, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", Service::Auth.database()).await?;
    let _closing = first.close().await;
    if !made {
        return Ok(None);
    }
    let home = options(server)?.database(Service::Auth.database()).to_url_lossy().to_string();
    let mut connection = connect(&ServerUrl::new(home), "look").await?;
    if !exists(&mut connection, "SELECT to_regclass($1) IS NOT NULL", "installation.roles").await? {
        return Ok(None);
    }
    let rows: Result<Vec<(String, String)>, _> =
        sqlx::query_as("SELECT role, password FROM installation.roles").fetch_all(&mut connection).await;
    let rows =
        rows.map_err(|error| StartError::because(format!("installation.roles in auth_db cannot be read as the user of {server}"), error))?;
    let _closing = connection.close().await;
    Ok(Some(rows.into_iter().collect()))
}

/// `DATABASE_URL`'s user.
struct Admin<'a> {
    server: &'a ServerUrl,
    user: String,
}

impl Admin<'_> {
    async fn create_database(&self, connection: &mut PgConnection, name: &str) -> Result<(), StartError> {
        if exists(connection, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).await? {
            return Ok(());
        }
        tracing::info!(database = name, "making a database");
        let create = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'");
        match connection.execute(AssertSqlSafe(create)).await {
            Ok(_) => Ok(()),
            // Another start made it in the meantime.
            Err(error) if has_code(&error, &["42P04", "23505"]) => Ok(()),
            Err(error) => Err(self.refused(error, &format!("make the database {name}"), "CREATEDB")),
        }
    }

    async fn keep_passwords(&self, connection: &mut PgConnection) -> Result<(), StartError> {
        if exists(connection, "SELECT to_regclass($1) IS NOT NULL", "installation.roles").await? {
            return Ok(());
        }
        let create = "CREATE SCHEMA IF NOT EXISTS installation;
            CREATE TABLE IF NOT EXISTS installation.roles (
              role     text COLLATE \"C\" NOT NULL CONSTRAINT roles_role PRIMARY KEY,
              password text NOT NULL
            )";
        // Several statements in one text are one transaction.
        connection.execute(create).await.map_err(|error| self.refused(error, "make a schema in auth_db", "CREATE on it"))?;
        Ok(())
    }

    /// Makes a role with a password that is kept, both in one transaction; or finds the password of before.
    async fn role(&self, connection: &mut PgConnection, role: &'static str) -> Result<String, StartError> {
        let failed = |error| self.refused(error, &format!("make the role {role}"), "CREATEROLE");
        let mut transaction = connection.begin().await.map_err(failed)?;
        let there = exists(&mut transaction, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", role).await?;
        let kept: Option<String> = sqlx::query_scalar("SELECT password FROM installation.roles WHERE role = $1")
            .bind(role)
            .fetch_optional(&mut *transaction)
            .await
            .map_err(|error| self.refused(error, "read installation.roles in auth_db", "being the user who made it"))?;
        if let (true, Some(password)) = (there, &kept) {
            return Ok(password.clone());
        }
        let password = match kept {
            Some(password) => password,
            None => crate::private::random_token()?,
        };
        let verb = if there { "ALTER" } else { "CREATE" };
        transaction.execute(AssertSqlSafe(format!("{verb} ROLE {role} LOGIN PASSWORD '{password}'"))).await.map_err(failed)?;
        sqlx::query("INSERT INTO installation.roles (role, password) VALUES ($1, $2) ON CONFLICT (role) DO NOTHING")
            .bind(role)
            .bind(&password)
            .execute(&mut *transaction)
            .await
            .map_err(failed)?;
        transaction.commit().await.map_err(failed)?;
        Ok(password)
    }

    async fn grant(&self, connection: &mut PgConnection, service: Service) -> Result<(), StartError> {
        let (database, role) = (service.database(), service.role());
        let granted = format!(
            "SELECT has_database_privilege('{role}', '{database}', 'CREATE') AND has_database_privilege('{role}', '{database}', 'CONNECT')
                AND has_database_privilege('{READER}', '{database}', 'CONNECT') AND NOT has_database_privilege('public', '{database}', 'CONNECT')"
        );
        if ask(connection, &granted, "say who may connect").await? {
            return Ok(());
        }
        let grant = format!(
            "REVOKE ALL ON DATABASE {database} FROM PUBLIC;
             GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {database} TO {role};
             GRANT CONNECT ON DATABASE {database} TO {READER}"
        );
        connection
            .execute(AssertSqlSafe(grant))
            .await
            .map_err(|error| self.refused(error, &format!("say who may use the database {database}"), "being its owner"))?;
        Ok(())
    }

    /// A sentence; names the right when that is what is lacking.
    fn refused(&self, error: sqlx::Error, what: &str, right: &str) -> StartError {
        if !has_code(&error, &["42501"]) {
            return StartError::because(format!("the Postgres at {} could not {what}", self.server), error);
        }
        let variables = Service::ALL.map(Service::variable).join(", ");
        let message = format!(
            "the user {} of {} may not {what}: it lacks {right}. Grant it, name another user in DATABASE_URL, or give databases that are there already in {variables}",
            self.user, self.server
        );
        StartError::because(message, error)
    }
}

async fn ask<T>(connection: &mut PgConnection, query: &str, what: &str) -> Result<T, StartError>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    let asked = sqlx::query_scalar(AssertSqlSafe(query.to_owned())).fetch_one(connection).await;
    asked.map_err(|error| StartError::because(format!("Postgres did not {what}"), error))
}

async fn exists(connection: &mut PgConnection, query: &'static str, name: &str) -> Result<bool, StartError> {
    let asked = sqlx::query_scalar(query).bind(name).fetch_one(connection).await;
    asked.map_err(|error| StartError::because(format!("Postgres did not say whether {name} is there"), error))
}

fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| codes.contains(&&*code))
}
