package dev.forkd.http.e2b;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.engine.Snapshot;
import dev.forkd.http.Exchange;
import dev.forkd.http.Route;
import io.helidon.http.HeaderName;
import io.helidon.http.HeaderNames;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/** Snapshots of sandboxes, and what is told about templates. */
final class SnapshotControl {
  private static final HeaderName NEXT_TOKEN = HeaderNames.create("x-next-token");

  private final ForkdEngine engine;
  private final Templates templates;

  SnapshotControl(ForkdEngine engine, Templates templates) {
    this.engine = engine;
    this.templates = templates;
  }

  List<Route> routes() {
    return List.of(
        new Route("POST", "/sandboxes/{id}/snapshots", this::create),
        new Route("GET", "/snapshots", this::list),
        new Route("GET", "/templates", this::templates),
        new Route("DELETE", "/templates/{name}", this::delete),
        new Route("GET", "/templates/aliases/{name}", this::alias));
  }

  private void create(Exchange exchange) {
    Messages.CreateSnapshot wish = Messages.read(exchange, Messages.CreateSnapshot.class);
    String id = SandboxControl.id(exchange);
    Tag tag = SnapshotNames.newTag(engine.hosted().get(id).id(), wish.name());
    engine.hosted().snapshot(id, Optional.of(tag), SandboxControl.mode(wish.memory()));
    Messages.write(exchange, 201, SnapshotNames.view(tag));
  }

  private void list(Exchange exchange) {
    Optional<String> sandbox = exchange.query("sandboxID");
    Optional<String> name = exchange.query("name");
    List<Tag> wanted =
        SnapshotNames.all(engine.snapshots()).stream()
            .map(Snapshot::tag)
            .filter(tag -> sandbox.isEmpty() || SnapshotNames.isOf(tag, sandbox.get()))
            .filter(tag -> name.isEmpty() || SnapshotNames.isNamed(tag, name.get()))
            .toList();
    Listing.Page<Tag> page = Listing.page(exchange, wanted, Tag::value);
    page.next().ifPresent(token -> exchange.header(NEXT_TOKEN, token));
    Messages.write(exchange, 200, page.items().stream().map(SnapshotNames::view).toList());
  }

  private void templates(Exchange exchange) {
    Messages.write(
        exchange,
        200,
        engine.snapshots().stream()
            .filter(snapshot -> snapshot.template() && snapshot.bootable())
            .map(Views::template)
            .toList());
  }

  private void delete(Exchange exchange) {
    engine.deleteSnapshot(require(exchange), DeleteMode.REFUSE);
    exchange.empty(204);
  }

  private void alias(Exchange exchange) {
    Tag tag = require(exchange);
    Messages.write(exchange, 200, Map.of("templateID", tag.value(), "public", false));
  }

  private Tag require(Exchange exchange) {
    String name = exchange.segment("name");
    return templates
        .find(name)
        .orElseThrow(
            () -> new ForkdException(ErrorCode.NOT_FOUND, "template '" + name + "' not found"));
  }
}
