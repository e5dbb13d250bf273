package dev.forkd.http.rest;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.Tag;
import dev.forkd.api.rest.CompactSnapshot;
import dev.forkd.api.rest.CreateSnapshot;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.ForkdEngine;
import dev.forkd.engine.Snapshot;
import dev.forkd.engine.TemplateSpec;
import dev.forkd.http.Exchange;
import dev.forkd.http.Route;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/** Snapshots: list, look at, make from a kernel and a root file system, compact, delete. */
final class SnapshotRoutes {
  private static final long BOOT_WAIT_SECONDS_MAX = 60;

  /** For the boot itself; emulated hosts need most of it. */
  private static final Duration BOOT_TIMEOUT = Duration.ofMinutes(2);

  private final ForkdEngine engine;

  SnapshotRoutes(ForkdEngine engine) {
    this.engine = engine;
  }

  List<Route> routes() {
    return List.of(
        new Route("GET", "/v1/snapshots", this::list),
        new Route("POST", "/v1/snapshots", this::create),
        new Route("GET", "/v1/snapshots/{tag}", this::get),
        new Route("DELETE", "/v1/snapshots/{tag}", this::delete),
        new Route("GET", "/v1/snapshots/{tag}/info", this::info),
        new Route("POST", "/v1/snapshots/{tag}/compact", this::compact));
  }

  private void list(Exchange exchange) {
    exchange.json(200, engine.snapshots().stream().map(Views::snapshot).toList());
  }

  private void get(Exchange exchange) {
    exchange.json(200, Views.snapshot(engine.snapshot(exchange.tag())));
  }

  private void info(Exchange exchange) {
    exchange.json(200, Views.detail(engine.snapshotDetail(exchange.tag())));
  }

  private void compact(Exchange exchange) {
    Tag from = exchange.tag();
    Tag to = new Tag(exchange.body(CompactSnapshot.class).to());
    exchange.json(200, Views.snapshot(engine.compact(from, to)));
  }

  private void delete(Exchange exchange) {
    Tag tag = exchange.tag();
    boolean cascade = exchange.queryFlag("cascade");
    boolean force = exchange.queryFlag("force");
    if (cascade && force) {
      throw Checks.invalid(
          "send cascade to delete the dependents of '"
              + tag
              + "' too, or force to leave them without it, not both");
    }
    engine.deleteSnapshot(
        tag, cascade ? DeleteMode.CASCADE : force ? DeleteMode.FORCE : DeleteMode.REFUSE);
    exchange.empty(204);
  }

  private void create(Exchange exchange) {
    CreateSnapshot body = exchange.body(CreateSnapshot.class);
    Tag tag = new Tag(body.tag());
    Path kernel = hostFile("kernel", body.kernel());
    Path rootfs = hostFile("rootfs", body.rootfs());
    if (body.bootWaitSecs().isPresent()) {
      Checks.inRange("boot_wait_secs", body.bootWaitSecs().getAsLong(), 0, BOOT_WAIT_SECONDS_MAX);
    }
    if (body.tap().isPresent()) {
      throw new ForkdException(
          ErrorCode.UNIMPLEMENTED, "guests have no network yet; leave 'tap' out");
    }
    if (exists(engine, tag)) {
      // The published clients know 400 here, not 409.
      throw taken(tag);
    }
    TemplateSpec spec =
        new TemplateSpec(
            tag,
            new TemplateSpec.Source.RootFile(rootfs),
            Optional.of(kernel),
            TemplateSpec.DEFAULT_MEMORY_MIB,
            TemplateSpec.DEFAULT_DISK_MIB,
            List.of(),
            List.of(),
            BOOT_TIMEOUT,
            false);
    try {
      Snapshot made = engine.bake(spec, _ -> {});
      exchange.json(201, Views.snapshot(unheeded(body).map(made::withWarning).orElse(made)));
    } catch (ForkdException e) {
      throw e.code() == ErrorCode.ALREADY_EXISTS ? taken(tag) : e;
    }
  }

  /**
   * What was asked for and means nothing here. Roots are always writable, in layers of their
   * children, so {@code rw} changes nothing for those that the published server attaches read-only.
   */
  private static Optional<String> unheeded(CreateSnapshot body) {
    List<String> notes = new ArrayList<>();
    if (body.bootWaitSecs().orElse(0) > 0) {
      notes.add(
          "boot_wait_secs: nothing was waited for after the boot; the guest says itself when it is"
              + " ready");
    }
    if (!body.rw() && !body.rootfs().toLowerCase(Locale.ROOT).endsWith(".ext4")) {
      notes.add(
          "rw: the guest may write to its root although this was not asked for; what it writes goes"
              + " into its own layer, never into the file");
    }
    return notes.isEmpty() ? Optional.empty() : Optional.of(String.join(". ", notes));
  }

  private static ForkdException taken(Tag tag) {
    return Checks.invalid(
        "snapshot '"
            + tag
            + "' exists; DELETE /v1/snapshots/"
            + tag
            + " first or take another tag");
  }

  /** Whether a snapshot has this tag. */
  static boolean exists(ForkdEngine engine, Tag tag) {
    try {
      engine.snapshot(tag);
      return true;
    } catch (ForkdException e) {
      if (e.code() == ErrorCode.NOT_FOUND) {
        return false;
      }
      throw e;
    }
  }

  /** A file on the daemon's host that must be there. */
  static Path hostFile(String name, String text) {
    Path path;
    try {
      path = Path.of(text);
    } catch (InvalidPathException e) {
      throw Checks.invalid(name + " is not a path: " + e.getReason());
    }
    if (!path.isAbsolute()) {
      throw Checks.invalid(name + " '" + text + "' must be an absolute path on the daemon's host");
    }
    if (!Files.exists(path)) {
      throw Checks.invalid(name + " not found: " + text + " (on the daemon's host)");
    }
    return path;
  }
}
