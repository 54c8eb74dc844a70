"""The schema, as a list of changes. A migration that has been released is never edited: the next one corrects it.

Each migration runs in one transaction with the record of having run. Tables are written as SQL so that keys, checks and
foreign keys stand where a reader looks for them; `harness.store.schema` says in words what each column means.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

SET_NAME = "harness"
migrations = Migrations(SET_NAME)


@migrations()
def m001_tasks_and_items(db: Database) -> None:
    # Predictions are judged against gold long after the data files have changed or gone, so the items that a run used
    # are kept with it, under a fingerprint that is shared by all runs on the same data.
    db.execute("""
        CREATE TABLE tasks (
            fingerprint TEXT PRIMARY KEY,
            name TEXT,
            created_at TEXT NOT NULL
        )""")
    db.execute("""
        CREATE TABLE items (
            task_fingerprint TEXT NOT NULL REFERENCES tasks(fingerprint),
            item_id TEXT NOT NULL,
            split TEXT NOT NULL,
            position INTEGER NOT NULL,
            group_name TEXT,
            input TEXT,
            fields TEXT NOT NULL,
            gold TEXT NOT NULL,
            evidence TEXT NOT NULL,
            PRIMARY KEY (task_fingerprint, item_id)
        )""")


@migrations()
def m002_runs_and_trials(db: Database) -> None:
    # A run is a table of trials, but does not own them: a trial is found by its prediction key, so that the same arm in
    # another experiment file, or a later run with one more metric, uses what has been computed. Hence `run_trials`.
    db.execute("""
        CREATE TABLE runs (
            id TEXT PRIMARY KEY,
            key TEXT NOT NULL UNIQUE,
            name TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('running', 'done', 'failed', 'interrupted')),
            created_at TEXT NOT NULL,
            finished_at TEXT,
            task_fingerprint TEXT NOT NULL REFERENCES tasks(fingerprint),
            baseline TEXT NOT NULL,
            primary_metric TEXT NOT NULL,
            arms TEXT NOT NULL,
            config_written TEXT NOT NULL,
            config_resolved TEXT NOT NULL,
            versions TEXT NOT NULL,
            machine TEXT NOT NULL,
            model TEXT NOT NULL,
            task TEXT NOT NULL,
            score_versions TEXT NOT NULL,
            analysis TEXT
        )""")
    db.execute("CREATE INDEX runs_by_name ON runs (name, created_at)")
    db.execute("""
        CREATE TABLE trials (
            id INTEGER PRIMARY KEY,
            prediction_key TEXT NOT NULL UNIQUE,
            adaptation_key TEXT NOT NULL,
            arm TEXT NOT NULL,
            seed INTEGER NOT NULL,
            chain TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('pending', 'running', 'done', 'failed')),
            error TEXT,
            error_detail TEXT,
            started_at TEXT,
            finished_at TEXT,
            adaptation TEXT,
            dtype TEXT,
            prediction_digest TEXT,
            notes TEXT NOT NULL DEFAULT '[]'
        )""")
    db.execute("CREATE INDEX trials_by_adaptation ON trials (adaptation_key)")
    db.execute("""
        CREATE TABLE run_trials (
            run_id TEXT NOT NULL REFERENCES runs(id),
            trial_id INTEGER NOT NULL REFERENCES trials(id),
            arm TEXT NOT NULL,
            arm_index INTEGER NOT NULL,
            seed INTEGER NOT NULL,
            PRIMARY KEY (run_id, arm, seed)
        )""")
    db.execute("CREATE INDEX run_trials_by_trial ON run_trials (trial_id)")


@migrations()
def m003_predictions(db: Database) -> None:
    # Short columns come first: SQLite reads a row from the left, and the analysis needs counts and document ids of
    # every prediction but the long texts of none. `document_ids` repeats what `passages` says for the same reason.
    db.execute("""
        CREATE TABLE predictions (
            trial_id INTEGER NOT NULL REFERENCES trials(id),
            item_id TEXT NOT NULL,
            position INTEGER NOT NULL,
            finish TEXT NOT NULL CHECK (finish IN ('stop', 'length', 'choice', 'overflow', 'error')),
            tokens_in INTEGER,
            tokens_out INTEGER,
            error TEXT,
            document_ids TEXT,
            parsed TEXT NOT NULL,
            raw TEXT NOT NULL,
            prompt TEXT NOT NULL,
            passages TEXT,
            label_scores TEXT,
            PRIMARY KEY (trial_id, item_id)
        )""")


@migrations()
def m004_scores_and_errors(db: Database) -> None:
    # Scores carry the metric's version, and hang on predictions, not on runs: a new metric, or a new version of one,
    # adds rows without running a model. The key order lets one metric of one trial be read in one sweep.
    db.execute("""
        CREATE TABLE scores (
            trial_id INTEGER NOT NULL,
            item_id TEXT NOT NULL,
            metric TEXT NOT NULL,
            version TEXT NOT NULL,
            value REAL,
            record TEXT,
            PRIMARY KEY (trial_id, metric, version, item_id),
            FOREIGN KEY (trial_id, item_id) REFERENCES predictions(trial_id, item_id)
        )""")
    db.execute("""
        CREATE TABLE error_labels (
            trial_id INTEGER NOT NULL,
            item_id TEXT NOT NULL,
            classifier TEXT NOT NULL,
            version TEXT NOT NULL,
            category TEXT NOT NULL,
            is_primary INTEGER NOT NULL,
            evidence TEXT NOT NULL DEFAULT '',
            PRIMARY KEY (trial_id, classifier, version, item_id, category),
            FOREIGN KEY (trial_id, item_id) REFERENCES predictions(trial_id, item_id)
        )""")


@migrations()
def m005_costs_and_artifacts(db: Database) -> None:
    # Costs are kept as physical quantities; money is worked out when a report is made, so a new price changes no row.
    # Artifacts belong to an adaptation key: a trial with another test set takes the weights of an earlier one.
    db.execute("""
        CREATE TABLE ledger (
            id INTEGER PRIMARY KEY,
            trial_id INTEGER NOT NULL REFERENCES trials(id),
            phase TEXT NOT NULL CHECK (phase IN ('prepare', 'train', 'predict', 'evaluate')),
            quantity TEXT NOT NULL,
            value REAL,
            unit TEXT NOT NULL,
            basis TEXT NOT NULL CHECK (basis IN ('measured', 'sampled', 'estimated', 'unknown'))
        )""")
    db.execute("CREATE INDEX ledger_by_trial ON ledger (trial_id, phase)")
    db.execute("""
        CREATE TABLE latencies (
            trial_id INTEGER NOT NULL REFERENCES trials(id),
            item_id TEXT NOT NULL,
            seconds REAL NOT NULL,
            PRIMARY KEY (trial_id, item_id)
        )""")
    db.execute("""
        CREATE TABLE curves (
            trial_id INTEGER NOT NULL REFERENCES trials(id),
            series TEXT NOT NULL,
            step INTEGER NOT NULL,
            value REAL,
            PRIMARY KEY (trial_id, series, step)
        )""")
    db.execute("""
        CREATE TABLE artifacts (
            adaptation_key TEXT NOT NULL,
            path TEXT NOT NULL,
            trial_id INTEGER NOT NULL REFERENCES trials(id),
            kind TEXT NOT NULL,
            bytes INTEGER,
            digest TEXT,
            PRIMARY KEY (adaptation_key, path)
        )""")


@migrations()
def m006_benchmarks(db: Database) -> None:
    # A benchmark belongs to a model, not to a trial: arms that leave the weights alone share one result, and a second
    # experiment with the same adapted model measures nothing again. `task_key` covers data, shots, limit and versions.
    db.execute("ALTER TABLE trials ADD COLUMN model_key TEXT")
    db.execute("""
        CREATE TABLE benchmarks (
            id INTEGER PRIMARY KEY,
            model_key TEXT NOT NULL,
            task_key TEXT NOT NULL,
            task TEXT NOT NULL,
            group_name TEXT NOT NULL,
            metric TEXT NOT NULL,
            value REAL,
            higher_is_better INTEGER NOT NULL,
            is_mean INTEGER NOT NULL,
            is_primary INTEGER NOT NULL,
            shots INTEGER NOT NULL,
            truncated INTEGER NOT NULL,
            created_at TEXT NOT NULL,
            UNIQUE (model_key, task_key, metric)
        )""")
    db.execute("""
        CREATE TABLE benchmark_items (
            benchmark_id INTEGER NOT NULL REFERENCES benchmarks(id),
            item_id TEXT NOT NULL,
            value REAL,
            PRIMARY KEY (benchmark_id, item_id)
        )""")


@migrations()
def m009_rescoring(db: Database) -> None:
    # Stored outputs are judged again long after: by new metrics, classifiers or versions. Spelling then needs the words
    # of the corpus, which is not stored otherwise (compressed: a few hundred kilobytes). And a run that shows other
    # scores than before must say since when and why.
    db.execute("""
        CREATE TABLE task_vocabularies (
            task_fingerprint TEXT PRIMARY KEY REFERENCES tasks(fingerprint),
            words BLOB NOT NULL
        )""")
    db.execute("""
        CREATE TABLE rescorings (
            id INTEGER PRIMARY KEY,
            run_id TEXT NOT NULL REFERENCES runs(id),
            created_at TEXT NOT NULL,
            before TEXT NOT NULL,
            after TEXT NOT NULL,
            versions TEXT NOT NULL
        )""")


@migrations()
def m008_candidates_and_curves(db: Database) -> None:
    # A candidate is kept under what its score depends on, so that another sweep, or the same one again, trains it only
    # once; which candidates an arm had, and which was chosen, belongs to a run. Costs are kept as JSON because they are
    # charged as a whole, to whatever run uses them, and never to the trials, which other runs share.
    # Points of a learning curve are ordinary trials on fewer examples, and no part of the comparison: hence a table of
    # their own beside `run_trials`.
    db.execute("""
        CREATE TABLE candidates (
            key TEXT PRIMARY KEY,
            adaptation_key TEXT NOT NULL,
            seed INTEGER NOT NULL,
            metric TEXT NOT NULL,
            metric_version TEXT NOT NULL,
            status TEXT NOT NULL CHECK (status IN ('done', 'failed')),
            value REAL,
            n INTEGER NOT NULL,
            seconds REAL,
            costs TEXT NOT NULL,
            error TEXT,
            error_detail TEXT,
            created_at TEXT NOT NULL
        )""")
    db.execute("""
        CREATE TABLE run_candidates (
            run_id TEXT NOT NULL REFERENCES runs(id),
            arm TEXT NOT NULL,
            position INTEGER NOT NULL,
            candidate_key TEXT NOT NULL REFERENCES candidates(key),
            settings TEXT NOT NULL,
            chosen INTEGER NOT NULL,
            PRIMARY KEY (run_id, arm, position)
        )""")
    db.execute("""
        CREATE TABLE run_curve_trials (
            run_id TEXT NOT NULL REFERENCES runs(id),
            arm TEXT NOT NULL,
            size INTEGER NOT NULL,
            trial_id INTEGER NOT NULL REFERENCES trials(id),
            PRIMARY KEY (run_id, arm, size)
        )""")


@migrations()
def m010_measurements(db: Database) -> None:
    # Some metrics want more of the model than its answers, such as how likely it holds the gold. Measuring is dear, and
    # another metric or a re-scoring may want the same: so it is kept by what was asked (kind and a digest of settings),
    # apart from the scores that were made of it.
    db.execute("""
        CREATE TABLE measurements (
            trial_id INTEGER NOT NULL,
            kind TEXT NOT NULL,
            key TEXT NOT NULL,
            item_id TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (trial_id, kind, key, item_id),
            FOREIGN KEY (trial_id, item_id) REFERENCES predictions(trial_id, item_id)
        )""")
