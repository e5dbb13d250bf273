package dev.forkd.sdk;

import dev.forkd.api.KnownTemplate;
import dev.forkd.api.rest.CreateTemplate;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;

/**
 * How to make a template. Immutable; each method gives a changed copy. Paths are on the daemon's
 * host and absolute.
 *
 * @param memoryMib 128 to 65536; 512 when empty
 * @param diskMib 256 to 1048576; 2048 when empty
 * @param run shell commands run as root before the freeze
 * @param warm code evaluated in the warm interpreter before the freeze
 * @param bootTimeout 1 s to 10 min; 2 min when empty
 * @param replace build again although the tag exists with the same recipe
 * @param refresh build again, with the packages of today and the newest kernel
 */
public record TemplateRecipe(
    Source source,
    Optional<String> kernel,
    OptionalLong memoryMib,
    OptionalLong diskMib,
    List<String> run,
    List<String> warm,
    Optional<Duration> bootTimeout,
    boolean replace,
    boolean refresh) {
  /** Where the root file system comes from. */
  public sealed interface Source {
    /** Debian packages in a minimal system. */
    record Packages(List<String> names) implements Source {
      public Packages {
        names = List.copyOf(names);
      }
    }

    /** An OCI image layout, a folder or a tar of one. */
    record OciLayout(String path) implements Source {}

    /** All is as forkd knows it; the template must have that tag. */
    record Known(KnownTemplate template) implements Source {}

    /** A raw ext4 image; it is copied, never written. */
    record RootFile(String path) implements Source {}
  }

  public TemplateRecipe {
    run = List.copyOf(run);
    warm = List.copyOf(warm);
  }

  /** The recipe of a template that forkd knows. */
  public static TemplateRecipe of(KnownTemplate known) {
    return of(new Source.Known(known));
  }

  public static TemplateRecipe ofPackages(List<String> names) {
    return of(new Source.Packages(names));
  }

  public static TemplateRecipe ofOciLayout(String path) {
    return of(new Source.OciLayout(path));
  }

  public static TemplateRecipe ofRootFile(String path) {
    return of(new Source.RootFile(path));
  }

  public static TemplateRecipe of(Source source) {
    return new TemplateRecipe(
        source,
        Optional.empty(),
        OptionalLong.empty(),
        OptionalLong.empty(),
        List.of(),
        List.of(),
        Optional.empty(),
        false,
        false);
  }

  public TemplateRecipe withKernel(String path) {
    return new TemplateRecipe(
        source, Optional.of(path), memoryMib, diskMib, run, warm, bootTimeout, replace, refresh);
  }

  public TemplateRecipe withMemoryMib(long size) {
    return new TemplateRecipe(
        source, kernel, OptionalLong.of(size), diskMib, run, warm, bootTimeout, replace, refresh);
  }

  public TemplateRecipe withDiskMib(long size) {
    return new TemplateRecipe(
        source, kernel, memoryMib, OptionalLong.of(size), run, warm, bootTimeout, replace, refresh);
  }

  /** With one more command after those there are. */
  public TemplateRecipe andRun(String command) {
    return new TemplateRecipe(
        source,
        kernel,
        memoryMib,
        diskMib,
        plus(run, command),
        warm,
        bootTimeout,
        replace,
        refresh);
  }

  /** With one more piece of code after those there are. */
  public TemplateRecipe andWarm(String code) {
    return new TemplateRecipe(
        source, kernel, memoryMib, diskMib, run, plus(warm, code), bootTimeout, replace, refresh);
  }

  public TemplateRecipe withBootTimeout(Duration limit) {
    return new TemplateRecipe(
        source, kernel, memoryMib, diskMib, run, warm, Optional.of(limit), replace, refresh);
  }

  public TemplateRecipe replacing() {
    return new TemplateRecipe(
        source, kernel, memoryMib, diskMib, run, warm, bootTimeout, true, refresh);
  }

  /** With the packages of today and the newest kernel. */
  public TemplateRecipe refreshing() {
    return new TemplateRecipe(
        source, kernel, memoryMib, diskMib, run, warm, bootTimeout, replace, true);
  }

  private static List<String> plus(List<String> list, String last) {
    List<String> longer = new ArrayList<>(list);
    longer.add(last);
    return longer;
  }

  CreateTemplate wire(String tag) {
    return new CreateTemplate(
        tag,
        source instanceof Source.Packages(List<String> names)
            ? Optional.of(names)
            : Optional.empty(),
        source instanceof Source.OciLayout(String path) ? Optional.of(path) : Optional.empty(),
        source instanceof Source.RootFile(String path) ? Optional.of(path) : Optional.empty(),
        kernel,
        memoryMib,
        diskMib,
        run,
        warm,
        bootTimeout.isPresent()
            ? OptionalLong.of(bootTimeout.get().toSeconds())
            : OptionalLong.empty(),
        replace,
        refresh);
  }
}
