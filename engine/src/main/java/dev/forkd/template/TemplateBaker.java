package dev.forkd.template;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.api.KnownTemplate;
import dev.forkd.api.Tag;
import dev.forkd.disk.DiskLayers;
import dev.forkd.engine.DeleteMode;
import dev.forkd.engine.Snapshot;
import dev.forkd.engine.TemplateSpec;
import dev.forkd.fork.HostProfile;
import dev.forkd.guest.GuestAgent;
import dev.forkd.linux.DurableFiles;
import dev.forkd.memory.HostMemory;
import dev.forkd.memory.MemoryImage;
import dev.forkd.memory.MemoryStore;
import dev.forkd.snapshot.ImageLedger;
import dev.forkd.snapshot.Layers;
import dev.forkd.snapshot.SnapshotCatalog;
import dev.forkd.snapshot.SnapshotFiles;
import dev.forkd.snapshot.SnapshotManifest;
import dev.forkd.state.DataDir;
import dev.forkd.vmm.DiskLayer;
import dev.forkd.vmm.Vmm;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.function.Consumer;

/** Makes templates: a disk, one boot, a warm-up, and the frozen result. */
public final class TemplateBaker {
  /** What baking needs of the engine. */
  public record Parts(
      DataDir dir,
      TemplateAssets assets,
      SnapshotCatalog snapshots,
      MemoryStore memory,
      DiskLayers layers,
      ImageLedger ledger,
      Vmm vmm) {}

  private final Parts parts;
  private final Set<String> baking = ConcurrentHashMap.newKeySet();

  public TemplateBaker(Parts parts) {
    this.parts = parts;
  }

  /** See {@link dev.forkd.engine.ForkdEngine#bake}. */
  public Snapshot bake(TemplateSpec spec, Consumer<String> progress) {
    TemplateRules.check(spec);
    if (!baking.add(spec.tag().value())) {
      throw new ForkdException(
          ErrorCode.ABORTED, "template '" + spec.tag() + "' is being built already; wait for it");
    }
    try {
      BootAssets assets = parts.assets().bootAssets(spec.kernel(), spec.refresh(), progress);
      HostProfile host = HostProfile.of(parts.vmm().capabilities(), assets.tscKhz());
      String recipe = recipe(spec);
      SnapshotManifest.Platform platform = platform(host, assets);
      Optional<Snapshot> there = existing(spec, recipe, platform, host, progress);
      if (there.isPresent()) {
        return there.get();
      }
      Optional<SnapshotManifest> old = parts.snapshots().find(spec.tag());
      return build(spec, assets, recipe, platform, old, progress);
    } finally {
      baking.remove(spec.tag().value());
    }
  }

  static SnapshotManifest.Platform platform(HostProfile host, BootAssets assets) {
    return new SnapshotManifest.Platform(
        host.vmm(),
        host.isolation(),
        host.machineHash(),
        assets.tscKhz(),
        assets.kernelVersion(),
        assets.agentHash());
  }

  /**
   * The template that is there, if it is what was asked for. One that is out of date stays until
   * the new one can take its place; what nobody can use goes now.
   */
  private Optional<Snapshot> existing(
      TemplateSpec spec,
      String recipe,
      SnapshotManifest.Platform platform,
      HostProfile host,
      Consumer<String> progress) {
    if (!parts.snapshots().contains(spec.tag())) {
      return Optional.empty();
    }
    Optional<SnapshotManifest> manifest = parts.snapshots().find(spec.tag());
    boolean sameRecipe =
        manifest.flatMap(SnapshotManifest::recipe).filter(recipe::equals).isPresent();
    boolean again = spec.replace() || spec.refresh();
    if (!again && sameRecipe && usable(spec.tag(), platform, host)) {
      progress.accept("template '" + spec.tag() + "' is there already");
      return Optional.of(parts.snapshots().get(spec.tag()));
    }
    if (!again && manifest.isPresent() && !sameRecipe) {
      throw new ForkdException(
          ErrorCode.ALREADY_EXISTS,
          "snapshot '"
              + spec.tag()
              + "' already exists and was made differently; delete it first (DELETE /v1/snapshots/"
              + spec.tag()
              + "), use another tag, or ask for it to be replaced");
    }
    progress.accept(
        "template '" + spec.tag() + (again ? "' is" : "' is out of date and is") + " made again");
    if (manifest.isEmpty()) {
      parts.snapshots().delete(spec.tag(), DeleteMode.FORCE);
    }
    return Optional.empty();
  }

  private boolean usable(Tag tag, SnapshotManifest.Platform platform, HostProfile host) {
    try {
      SnapshotManifest manifest = parts.snapshots().require(tag);
      host.check(manifest);
      return manifest.platform().agentHash().equals(platform.agentHash())
          && manifest.platform().kernel().equals(platform.kernel());
    } catch (ForkdException e) {
      return false;
    }
  }

  private Snapshot build(
      TemplateSpec spec,
      BootAssets assets,
      String recipe,
      SnapshotManifest.Platform platform,
      Optional<SnapshotManifest> old,
      Consumer<String> progress) {
    HostMemory.require("booting template '" + spec.tag() + "'", (long) spec.memoryMib() << 20);
    Path image = parts.assets().rootImage(spec, spec.diskMib(), progress);
    String holder = "bake " + spec.tag();
    String imageId = "m" + GuestBoot.randomHex(8);
    boolean complete = false;
    try (TemplatePlace place =
        new TemplatePlace(parts.snapshots(), parts.dir().staging(), spec.tag(), old)) {
      long diskBytes = Files.size(image);
      DiskLayer root = parts.layers().adoptRoot("r" + GuestBoot.randomHex(8), image);
      parts.ledger().hold(holder, List.of(root.id()));
      TemplateBoot boot = new TemplateBoot(parts.assets().home(), spec, progress);
      GuestBoot.Frozen baked =
          new GuestBoot(
                  parts,
                  assets,
                  "template '" + spec.tag() + "'",
                  holder,
                  spec.memoryMib(),
                  spec.bootTimeout(),
                  progress)
              .run(List.of(root), diskBytes, place.folder(), boot::warm);
      progress.accept("storing " + spec.memoryMib() + " MiB of memory");
      MemoryImage memory = parts.memory().addFlat(imageId, baked.memory());
      Path devices = place.folder().resolve(SnapshotFiles.DEVICES);
      DurableFiles.sync(devices);
      Snapshot snapshot =
          place.complete(
              new SnapshotManifest(
                  SnapshotManifest.VERSION,
                  spec.tag().value(),
                  System.currentTimeMillis() / 1000,
                  true,
                  Optional.of(recipe),
                  platform,
                  spec.memoryMib(),
                  diskBytes,
                  List.of(memory),
                  List.of(
                      Layers.sealed(root, parts.layers()),
                      Layers.sealed(baked.overlay(), parts.layers())),
                  SnapshotFiles.sha256(devices),
                  HexFormat.of().formatHex(GuestAgent.INITIAL_TOKEN),
                  false,
                  spec.known().map(KnownTemplate::rehearsals),
                  Optional.empty()));
      complete = true;
      progress.accept("template '" + spec.tag() + "' is ready");
      return snapshot;
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.INTERNAL, "build template '" + spec.tag() + "': " + e.getMessage(), e);
    } finally {
      deleteQuietly(image);
      if (!complete) {
        parts.memory().delete(imageId);
      }
      parts.snapshots().removeImages(parts.ledger().release(holder));
    }
  }

  /** The image, where it has not become a layer. */
  private static void deleteQuietly(Path image) {
    try {
      Files.deleteIfExists(image);
    } catch (IOException e) {
      // The next start cleans the staging folder.
      System.getLogger(TemplateBaker.class.getName())
          .log(System.Logger.Level.WARNING, "delete {0}: {1}", image, e.getMessage());
    }
  }

  /** Names what was asked for: the same recipe gives the same template. */
  private String recipe(TemplateSpec spec) {
    Path home = parts.assets().home();
    StringBuilder text = new StringBuilder();
    switch (spec.source()) {
      case TemplateSpec.Source.Packages(List<String> names) ->
          text.append("packages ").append(names);
      case TemplateSpec.Source.OciLayout(Path path) ->
          text.append("oci ").append(OciLayout.identity(path));
      case TemplateSpec.Source.RootFile(Path path) -> text.append("file ").append(stamp(path));
    }
    text.append('\n').append(spec.kernel().map(TemplateBaker::stamp).orElse("debian"));
    text.append('\n').append(spec.memoryMib()).append(' ').append(spec.diskMib());
    text.append('\n').append(spec.runCommands()).append('\n').append(spec.warmCode());
    spec.known()
        .ifPresent(known -> {
          text.append('\n').append(known.services()).append('\n').append(known.rehearsals());
          text.append('\n').append(new OwnFiles(home, known).hash());
        });
    return SnapshotFiles.sha256(text.toString().getBytes(StandardCharsets.UTF_8)).substring(0, 16);
  }

  private static String stamp(Path path) {
    try {
      return path + " " + Files.size(path) + " " + Files.getLastModifiedTime(path);
    } catch (IOException e) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT, "cannot read '" + path + "': " + e.getMessage(), e);
    }
  }
}
