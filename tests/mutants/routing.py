"""The guards that keep customers apart, each taken away in turn."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_DOMAIN = "src/headrace/domain/routing.py"
_QUERY_SQL = "src/headrace/stores/record_query_sql.py"
_QUERY = "src/headrace/stores/record_query.py"
_CACHE = "src/headrace/control/route_cache.py"
_MOVES = "src/headrace/control/move_end.py"
_TOKEN = "src/headrace/web/customer_token.py"
_AUTH = "src/headrace/web/auth.py"

_ROUTE_TESTS = "tests/properties/test_routing.py"
_READER_TESTS = "tests/conformance/test_record_reader.py"
_CACHE_TESTS = "tests/conformance/control/test_route_cache.py"
_MOVE_TESTS = "tests/conformance/control/test_control_moves.py"
_CUSTOMER_TESTS = "tests/conformance/control/test_control_customers.py"
_SOURCE_TESTS = "tests/conformance/control/test_control_data_sources.py"
_ROLE_TESTS = "tests/integration/test_reading_role.py"
_AUTH_TESTS = "tests/integration/test_web_auth.py"
_TENANCY_TESTS = "tests/integration/test_web_tenancy.py"
_RECORDS_TESTS = "tests/integration/test_web_records.py"
_PREVIEW_TESTS = "tests/integration/test_web_preview.py"
_NOBODY_TESTS = "tests/acceptance/isolation/test_07_no_customer.py"
_NAMESAKE_TESTS = "tests/acceptance/isolation/test_01_namesakes.py"
_FORGED = f"{_AUTH_TESTS}::test_a_forged_customer_token_is_refused_everywhere"
_OWN_ALONE = f"{_READER_TESTS}::test_a_read_finds_its_own_customer_alone"

RESOLVING: Final = (
    Mutant(
        name="a wrong route falls back to the default",
        file=_DOMAIN,
        before="        if bound is not None:\n            via =",
        after="        if bound is not None and bound in table.data_sources:\n            via =",
        killed_by=(_ROUTE_TESTS,),
    ),
    Mutant(
        name="an unfit binding falls through to the next step",
        file=_DOMAIN,
        before="            if route.data_source is None:\n                return route\n",
        after="            if route.data_source is None:\n                continue\n",
        killed_by=(f"{_ROUTE_TESTS}::test_each_refusal_says_why",),
    ),
    Mutant(
        name="a parent of another group passes its data source on",
        file=_DOMAIN,
        before="        if ancestor.visibility_group != tenant.visibility_group:\n",
        after="        if False:\n",
        killed_by=(f"{_ROUTE_TESTS}::test_an_ancestor_of_another_group_passes_nothing_on",),
    ),
    Mutant(
        name="a data source serves groups that it was taken from",
        file=_DOMAIN,
        before="    if tenant.visibility_group not in target.visibility_groups:\n",
        after="    if False:\n",
        killed_by=(f"{_ROUTE_TESTS}::test_each_refusal_says_why",),
    ),
    Mutant(
        name="a route of an older version is given out",
        file=_CACHE,
        before="            if version != self._version:\n",
        after="            if self._version < 0:\n",
        killed_by=(f"{_CACHE_TESTS}::test_routes_of_another_version_are_forgotten_when_it_is_seen",),
    ),
    Mutant(
        name="a route that was resolved before a change is kept after it",
        file=_CACHE,
        before="generation == self._generation and found.version == self._version",
        after="True",
        killed_by=(f"{_CACHE_TESTS}::test_a_route_that_was_resolved_before_a_change_is_not_kept_after_it",),
    ),
    Mutant(
        name="routes are given out though nobody can ask whether they changed",
        file=_CACHE,
        before="        if found is not None and time.monotonic() < self._trusted_until:\n",
        after="        if found is not None:\n",
        killed_by=(f"{_CACHE_TESTS}::test_a_known_route_is_asked_for_again_when_its_version_could_not_be",),
    ),
    Mutant(
        name="whoever changes routing by the API reads by what was known before",
        file="src/headrace/web/fresh_routes.py",
        before="                self._routes.invalidate()\n",
        after="                pass\n",
        killed_by=(f"{_RECORDS_TESTS}::test_a_change_through_this_process_is_seen_by_the_next_request",),
    ),
)

READING_RECORDS: Final = (
    Mutant(
        name="a page holds everybody's records",
        file=_QUERY_SQL,
        before='    conditions = [f"r.{q(CUSTOMER)} = {binds.text(customer)}"]\n',
        after='    conditions = ["1 = 1"]\n',
        killed_by=(_OWN_ALONE,),
    ),
    Mutant(
        name="a record is found by its key alone",
        file=_QUERY_SQL,
        before='    conditions = [f"r.{q(CUSTOMER)} = {mine}"]\n',
        after='    conditions = [f"{mine} IS NOT NULL"]\n',
        killed_by=(_OWN_ALONE,),
    ),
    Mutant(
        name="a read by an old route finds what was left of a moved customer",
        file=_QUERY,
        before="    if moved is not None and moved > routed_at:\n",
        after="    if False:\n",
        killed_by=(f"{_READER_TESTS}::test_a_read_by_an_older_route_than_the_move_is_refused",),
    ),
    Mutant(
        name="a read may name no customer",
        file=_QUERY,
        before="    if not customer:\n",
        after="    if False:\n",
        killed_by=(f"{_READER_TESTS}::test_a_read_without_a_customer_fails_closed",),
    ),
    Mutant(
        name="a customer without records is shown its namesake's",
        file="src/headrace/steps/records.py",
        before="            if not route.resident:\n",
        after="            if False:\n",
        killed_by=(f"{_NAMESAKE_TESTS}::test_a_customer_without_records_finds_none_of_its_namesake",),
    ),
    Mutant(
        name="staff are shown a namesake's rows in a preview",
        file="src/headrace/web/preview.py",
        before="        if not _resides(app, staff, view, named):\n",
        after="        if False:\n",
        killed_by=(f"{_PREVIEW_TESTS}::test_other_groups_see_nothing_of_it",),
    ),
    Mutant(
        name="a preview without a customer shows other groups' rows",
        file="src/headrace/web/preview.py",
        before="        if named is None:\n",
        after="        if False:\n",
        killed_by=(f"{_PREVIEW_TESTS}::test_other_groups_see_nothing_of_it",),
    ),
    Mutant(
        name="a preview shows what is left of a group that lost the data source",
        file="src/headrace/control/other_groups.py",
        before="for one in (shared, *stored))",
        after="for one in (shared,))",
        killed_by=(
            f"{_NAMESAKE_TESTS}::test_what_is_left_of_a_group_that_lost_the_data_source_is_shown_to_no_other",
        ),
    ),
    Mutant(
        name="a data source is read without its stamp",
        file="src/headrace/stores/postgres_reading.py",
        before="        if found != [self._identity]:\n",
        after="        if False:\n",
        killed_by=(f"{_READER_TESTS}::test_tables_of_another_data_source_are_not_read",),
    ),
    Mutant(
        name="the role for reading sees all customers",
        file="src/headrace/stores/reading_role.py",
        before="{whom} USING ({own})",
        after="{whom} USING ({own} OR true)",
        killed_by=(f"{_ROLE_TESTS}::test_a_read_that_forgets_its_customer_finds_nothing",),
    ),
    Mutant(
        name="the customer stays set on the connection for whoever has it next",
        file="src/headrace/stores/postgres_reading.py",
        before="', %s, true)\".encode()",
        after="', %s, false)\".encode()",
        killed_by=(f"{_ROLE_TESTS}::test_the_setting_does_not_stay_on_the_connection",),
    ),
    Mutant(
        name="a store of an older definition is given out",
        file="src/headrace/stores/pool.py",
        before="            if known is not None and known.body == body:\n",
        after="            if known is not None:\n",
        killed_by=(
            "tests/integration/test_store_pool.py::test_a_reader_of_another_definition_is_another_one",
        ),
    ),
)

MOVING: Final = (
    Mutant(
        name="a change of routing may lead customers away from their records",
        file="src/headrace/control/routing_change.py",
        before="    refuse_strays(strays(connection, whom))\n    connection.execute(_RAISE)\n",
        after="    connection.execute(_RAISE)\n",
        killed_by=(f"{_CUSTOMER_TESTS}::test_no_change_leads_a_customer_away_from_its_records",),
    ),
    Mutant(
        name="a change of routing does not raise its version",
        file="src/headrace/control/routing_change.py",
        before="    refuse_strays(strays(connection, whom))\n    connection.execute(_RAISE)\n",
        after="    refuse_strays(strays(connection, whom))\n",
        killed_by=(f"{_CUSTOMER_TESTS}::test_each_change_of_routing_is_another_version",),
    ),
    Mutant(
        name="rows of a customer that moves go to the old data source alone",
        file="src/headrace/steps/page.py",
        before="    led = [*routing.data_sources.items(), *routing.moving.items()]\n",
        after="    led = [*routing.data_sources.items()]\n",
        killed_by=("tests/integration/test_moves_interrupted.py",),
    ),
    Mutant(
        name="a move ends while batches for the new data source wait",
        file=_MOVES,
        before="    if connection.execute(waiting.limit(1)).one_or_none() is not None:\n",
        after="    if False:\n",
        killed_by=(
            f"{_MOVE_TESTS}::test_a_move_does_not_end_before_every_feed_has_read_and_all_of_it_is_merged",
        ),
    ),
    Mutant(
        name="a move ends before every feed has read",
        file=_MOVES,
        before="    if unread(connection, row.id) or not _serves",
        after="    if not _serves",
        killed_by=(
            f"{_MOVE_TESTS}::test_a_move_does_not_end_before_every_feed_has_read_and_all_of_it_is_merged",
        ),
    ),
    Mutant(
        name="nothing drops a customer's rows from where it was",
        file="src/headrace/control/dropping.py",
        before="        if row.id in wrote:\n",
        after="        if False:\n",
        killed_by=(
            f"{_MOVE_TESTS}::test_the_end_leads_to_the_new_data_source_and_drops_the_customer_from_the_old_one",
        ),
    ),
    Mutant(
        name="namesakes may move into one data source",
        file="src/headrace/control/move_target.py",
        before="    refuse_namesakes(connection, to, family)\n",
        after="",
        killed_by=(f"{_MOVE_TESTS}::test_no_data_source_gets_two_customers_of_one_name",),
    ),
    Mutant(
        name="rows of a namesake are journalled to its data source",
        file="src/headrace/control/routes.py",
        before="        return self._without_namesakes(routing) if routing.newcomers else routing\n",
        after="        return routing\n",
        killed_by=(f"{_MOVE_TESTS}::test_rows_of_a_namesake_of_another_group_are_held",),
    ),
    Mutant(
        name="a dedicated data source takes a second customer",
        file="src/headrace/domain/assignment.py",
        before="    if found.dedicated and found.holders - {customer}:\n",
        after="    if False:\n",
        killed_by=(f"{_CUSTOMER_TESTS}::test_a_dedicated_data_source_takes_one_customer",),
    ),
    Mutant(
        name="a move into a dedicated data source that is taken",
        file="src/headrace/control/move_target.py",
        before='    if found.isolation == "dedicated" and _holders(connection, to) - set(family):\n',
        after="    if False:\n",
        killed_by=(f"{_MOVE_TESTS}::test_what_may_not_be_is_refused_and_changes_nothing",),
    ),
)

ASKING: Final = (
    Mutant(
        name="a customer's token outlives its version",
        file=_TOKEN,
        before="return context if same and subject.token_version == verified.token_version else None",
        after="return context if same else None",
        killed_by=(f"{_AUTH_TESTS}::test_a_token_ends_with_what_it_stands_on",),
    ),
    Mutant(
        name="a key signs for customers of any group",
        file=_TOKEN,
        before="(subject.provided_id, subject.visibility_group) == (context.customer, key.visibility_group)",
        after="subject.provided_id == context.customer",
        killed_by=(f"{_AUTH_TESTS}::test_a_key_of_another_group_signs_for_nobody_here",),
    ),
    Mutant(
        name="a token may say by which algorithm it is signed",
        file=_TOKEN,
        before="algorithms=[key.algorithm]",
        after='algorithms=["HS256", "HS384", "HS512", "none"]',
        killed_by=(_FORGED,),
    ),
    Mutant(
        name="a token of another audience is good",
        file=_TOKEN,
        before='"require": _REQUIRED, "strict_aud": True,',
        after='"require": _REQUIRED, "verify_aud": False,',
        killed_by=(_FORGED,),
    ),
    Mutant(
        name="a token of another installation is good",
        file=_TOKEN,
        before="                issuer=self._workspace(),\n",
        after="",
        killed_by=(_FORGED,),
    ),
    Mutant(
        name="a revoked key still verifies",
        file="src/headrace/control/signing_keys.py",
        before=', signing_key.c.state != "revoked"\n',
        after="\n",
        killed_by=(f"{_AUTH_TESTS}::test_a_token_ends_with_what_it_stands_on",),
    ),
    Mutant(
        name="a token that only reads changes things",
        file=_AUTH,
        before='        if not token.may_write and scope["method"] not in _READING:\n',
        after="        if False:\n",
        killed_by=(f"{_AUTH_TESTS}::test_a_token_that_only_reads_changes_nothing",),
    ),
    Mutant(
        name="an operation that changes things takes any token",
        file=_AUTH,
        before="        if not staff.may_write:\n",
        after="        if False:\n",
        killed_by=(
            f"{_NOBODY_TESTS}::test_a_handler_that_changes_things_asks_for_itself_whether_the_token_may",
        ),
    ),
    Mutant(
        name="a handler that is reached past the gate serves whoever asks",
        file=_AUTH,
        before='            raise RefusedError(Refusal.UNAUTHENTICATED, "a valid API token is needed")\n',
        after=(
            '            return StaffContext(token_id="", visibility_group="production",'
            ' may_write=True, actor="")\n'
        ),
        killed_by=(f"{_NOBODY_TESTS}::test_a_handler_that_is_reached_past_the_gate_finds_nobody_who_asks",),
    ),
    Mutant(
        name="staff find customers of other groups",
        file="src/headrace/control/customer_view.py",
        before="CUSTOMERS.where(customer.c.visibility_group == group, named)",
        after="CUSTOMERS.where(named)",
        killed_by=(f"{_CUSTOMER_TESTS}::test_a_customer_is_of_its_group_alone",),
    ),
    Mutant(
        name="staff find data sources of other groups",
        file="src/headrace/control/data_source_view.py",
        before="    return data_source.c.id.in_(of_group)\n",
        after="    return sa.true()\n",
        killed_by=(f"{_SOURCE_TESTS}::test_a_data_source_is_of_its_groups_alone",),
    ),
    Mutant(
        name="staff change a data source that serves other groups too",
        file="src/headrace/control/data_sources.py",
        before="            if within is not None and has_other_groups(act.connection, id_, within):\n",
        after="            if False:\n",
        killed_by=(f"{_SOURCE_TESTS}::test_a_data_source_is_of_its_groups_alone",),
    ),
    Mutant(
        name="staff bind customers to data sources of other groups",
        file="src/headrace/control/assigning.py",
        before="            data_source.c.id.in_(of_group),\n",
        after="",
        killed_by=(f"{_TENANCY_TESTS}::test_what_is_unknown_and_what_is_anothers_is_answered_alike",),
    ),
    Mutant(
        name="staff see moves of other groups",
        file="src/headrace/web/moves.py",
        before="    if found.visibility_group != staff.visibility_group:\n",
        after="    if False:\n",
        killed_by=(f"{_TENANCY_TESTS}::test_moves_of_another_group_are_not_there",),
    ),
    Mutant(
        name="staff read records of customers of any group",
        file="src/headrace/web/records.py",
        before="    return app.customers.get(staff.visibility_group, customer).provided_id\n",
        after=(
            "    import sqlalchemy as sa\n"
            "    from headrace.control.tables import customer as of\n"
            "    with app.engine.connect() as found:\n"
            "        named = sa.select(of.c.provided_id).where(of.c.id == customer)\n"
            "        return str(found.execute(named).scalar())\n"
        ),
        killed_by=(f"{_RECORDS_TESTS}::test_staff_see_what_the_customer_sees_by_the_same_route",),
    ),
    Mutant(
        name="staff see the audit of other groups",
        file="src/headrace/web/audit.py",
        before="        visibility_group=staff.visibility_group, customer=customer,",
        after="        visibility_group=None, customer=customer,",
        killed_by=(f"{_AUTH_TESTS}::test_the_audit_shows_what_was_done_and_refused_in_the_group_alone",),
    ),
)

ROUTING: Final = (*RESOLVING, *READING_RECORDS, *MOVING, *ASKING)
