package dev.forkd.engine;

import dev.forkd.api.KnownTemplate;
import dev.forkd.api.Tag;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Optional;

/**
 * A recipe for a template.
 *
 * @param source where its root file system comes from
 * @param kernel a kernel image to boot instead of the default one
 * @param memoryMib guest memory, 128 to 65536
 * @param diskMib size of the root disk, 256 to 1048576
 * @param runCommands shell commands run as root in the booted guest before it is frozen, in order
 * @param warmCode code evaluated in the warm interpreter before it is frozen, in order
 * @param known what only templates that forkd knows have
 * @param bootTimeout until the agent must be ready; 1 s to 10 min
 * @param replace build again even if the tag exists with the same recipe
 * @param refresh build again, with the packages of today and the newest kernel
 */
public record TemplateSpec(
    Tag tag,
    Source source,
    Optional<Path> kernel,
    int memoryMib,
    int diskMib,
    List<String> runCommands,
    List<String> warmCode,
    Optional<KnownTemplate> known,
    Duration bootTimeout,
    boolean replace,
    boolean refresh) {
  public static final int DEFAULT_MEMORY_MIB = 512;
  public static final int DEFAULT_DISK_MIB = 2048;

  public TemplateSpec {
    runCommands = List.copyOf(runCommands);
    warmCode = List.copyOf(warmCode);
  }

  /** A recipe of one's own. */
  public TemplateSpec(
      Tag tag,
      Source source,
      Optional<Path> kernel,
      int memoryMib,
      int diskMib,
      List<String> runCommands,
      List<String> warmCode,
      Duration bootTimeout,
      boolean replace) {
    this(
        tag,
        source,
        kernel,
        memoryMib,
        diskMib,
        runCommands,
        warmCode,
        Optional.empty(),
        bootTimeout,
        replace,
        false);
  }

  /** The recipe of a template that forkd knows how to make. */
  public static TemplateSpec of(KnownTemplate known) {
    return new TemplateSpec(
        known.tag(),
        new Source.Packages(known.packages()),
        Optional.empty(),
        known.memoryMib(),
        known.diskMib(),
        known.run(),
        List.of(),
        Optional.of(known),
        Duration.ofMinutes(5),
        false,
        false);
  }

  /** The same, made again even if it is there. */
  public TemplateSpec replacing(boolean again) {
    return new TemplateSpec(
        tag,
        source,
        kernel,
        memoryMib,
        diskMib,
        runCommands,
        warmCode,
        known,
        bootTimeout,
        again,
        refresh);
  }

  /** The same; if {@code anew}, with nothing of what was fetched before. */
  public TemplateSpec refreshing(boolean anew) {
    return new TemplateSpec(
        tag,
        source,
        kernel,
        memoryMib,
        diskMib,
        runCommands,
        warmCode,
        known,
        bootTimeout,
        replace,
        anew);
  }

  /** Where a root file system comes from. */
  public sealed interface Source {
    /** Debian packages, installed into a fresh minimal Debian 12. */
    record Packages(List<String> names) implements Source {
      public Packages {
        names = List.copyOf(names);
      }
    }

    /** An OCI image layout folder (or a tar of one) on this host. */
    record OciLayout(Path path) implements Source {}

    /** A raw ext4 image on this host; it is copied, never written. */
    record RootFile(Path path) implements Source {}
  }
}
