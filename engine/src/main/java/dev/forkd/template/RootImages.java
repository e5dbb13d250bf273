package dev.forkd.template;

import dev.forkd.api.DefaultTemplate;
import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.engine.TemplateSpec.Source;
import dev.forkd.linux.SparseFiles;
import dev.forkd.process.Command;
import dev.forkd.process.ProcessResult;
import dev.forkd.process.ProcessRunner;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeSet;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * Makes root file systems as raw ext4 images. What was made from packages or an OCI image is kept
 * under the hash of its recipe and copied for each use, but no longer than a week: packages get
 * security fixes. The newest {@value #KEPT} are kept. Nothing is mounted and no container engine is
 * involved. One image is made at a time.
 */
public final class RootImages {
  private static final int KEPT = 4;
  private static final Duration MAX_AGE = Duration.ofDays(7);

  /** Raised when the same recipe would give another image. */
  private static final int RECIPE_VERSION = 4;

  private static final Pattern PACKAGE_NAME = Pattern.compile("[a-z0-9][a-z0-9.+-]{1,127}");

  /** How apt says it, in the language we run it in. */
  private static final Pattern UNKNOWN_PACKAGE =
      Pattern.compile(
          "^E: (?:Unable to locate package ([^ \\n]+)|Package '([^']+)' has no installation"
              + " candidate)",
          Pattern.MULTILINE);

  private static final Duration PACKAGES_TIMEOUT = Duration.ofMinutes(20);
  private static final Duration POPULATE_TIMEOUT = Duration.ofMinutes(10);

  /** What nobody reads in a sandbox; licences stay. */
  private static final List<String> LEFT_OUT =
      List.of("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*");

  private final Path kept;
  private final Path staging;
  private final ReentrantLock making = new ReentrantLock();

  /**
   * @param kept where finished images are kept for the next template of the same recipe
   * @param staging where unfinished work goes, and what is handed out
   */
  public RootImages(Path kept, Path staging) {
    this.kept = kept;
    this.staging = staging;
  }

  /**
   * A new image in the staging folder, the caller's to write or move.
   *
   * @param sizeMib size of the file system; the disk use is that of its content
   * @param anew use none that was made before
   */
  public Path make(Source source, int sizeMib, boolean anew, Consumer<String> progress) {
    making.lock();
    try {
      return AssetFiles.orFail(
          "make a root image in '" + staging + "'",
          () -> {
            Files.createDirectories(kept);
            Files.createDirectories(staging);
            return switch (source) {
              case Source.Packages packages ->
                  fromPackages(packages.names(), sizeMib, anew, progress);
              case Source.OciLayout layout -> fromOciLayout(layout.path(), sizeMib, anew, progress);
              case Source.RootFile file -> fromFile(file.path(), sizeMib, progress);
            };
          });
    } finally {
      making.unlock();
    }
  }

  private Path fromPackages(
      List<String> names, int sizeMib, boolean anew, Consumer<String> progress) throws IOException {
    for (String name : names) {
      if (!PACKAGE_NAME.matcher(name).matches()) {
        throw new ForkdException(
            ErrorCode.INVALID_ARGUMENT,
            "'"
                + name
                + "' cannot be the name of a Debian package (lower-case letters, digits,"
                + " '.', '+', '-')");
      }
    }
    List<String> sorted = List.copyOf(new TreeSet<>(names));
    String key = key("packages " + DefaultTemplate.SUITE + " " + String.join(" ", sorted), sizeMib);
    return fromKept(
        key,
        anew,
        progress,
        work -> {
          progress.accept("install Debian packages " + String.join(", ", sorted));
          Path extras = work.resolve("extras.tar");
          GuestTree.writeArchive(extras);
          if (isRoot()) {
            bootstrap(sorted, Files.createDirectory(work.resolve("tree")), "directory", progress);
            populate(work, List.of(extras), Xattrs.NONE, sizeMib, progress);
          } else {
            // Only an archive can carry the owners that fakeroot then remembers.
            Path tar = work.resolve("root.tar");
            bootstrap(sorted, tar, "tar", progress);
            populate(work, List.of(tar, extras), Xattrs.of(tar), sizeMib, progress);
          }
        });
  }

  private static void bootstrap(
      List<String> packages, Path target, String format, Consumer<String> progress)
      throws IOException {
    List<String> command =
        new ArrayList<>(List.of("mmdebstrap", "--variant=minbase", "--format=" + format));
    if (!packages.isEmpty()) {
      command.add("--include=" + String.join(",", packages));
    }
    for (String pattern : LEFT_OUT) {
      command.add("--dpkgopt=path-exclude=" + pattern);
    }
    command.add("--dpkgopt=path-include=/usr/share/doc/*/copyright");
    // The image is written out in the end; syncing each file before that is time lost.
    command.add("--dpkgopt=force-unsafe-io");
    // Java's packages cannot be configured where the folder of the pages they link to is not.
    command.add("--essential-hook=mkdir -p \"$1/usr/share/man/man1\"");
    command.add("--aptopt=Acquire::Languages \"none\"");
    command.add(DefaultTemplate.SUITE);
    command.add(target.toString());
    command.addAll(AptSources.entries(DefaultTemplate.SUITE));
    // /tmp may be small. Without root it stays: the mapped users cannot enter the data dir.
    Map<String, String> environment =
        isRoot() ? Map.of("TMPDIR", target.resolveSibling("").toString()) : Map.of();
    Command bootstrap =
        Command.of(command)
            .environment(environment)
            .timeout(PACKAGES_TIMEOUT)
            .lines(line -> report(line, progress))
            .advice(
                "check the network and the host's apt sources; without root it needs the packages"
                    + " uidmap and fakeroot and a range in /etc/subuid");
    ProcessResult result = ProcessRunner.run(bootstrap);
    if (!result.succeeded()) {
      Matcher unknown = UNKNOWN_PACKAGE.matcher(result.stderr());
      throw unknown.find()
          ? new ForkdException(
              ErrorCode.INVALID_ARGUMENT,
              "Debian "
                  + DefaultTemplate.SUITE
                  + " has no package '"
                  + Objects.requireNonNullElse(unknown.group(1), unknown.group(2))
                  + "'; look it up with 'apt-cache search'")
          : ProcessRunner.failure(bootstrap, result);
    }
  }

  /** Passes on what mmdebstrap says it does, without the chatter in between. */
  private static void report(String line, Consumer<String> progress) {
    if (line.startsWith("I: ")) {
      progress.accept(line.substring(3).replaceAll("\\.\\.\\.$", ""));
    }
  }

  /**
   * Turns the folder {@code tree}, with its attributes, or archives into {@code root.ext4} beside
   * it.
   */
  private static void populate(
      Path work, List<Path> archives, Xattrs attributes, int sizeMib, Consumer<String> progress)
      throws IOException {
    progress.accept("write the file system");
    Path tree = Files.createDirectories(work.resolve("tree"));
    // All in one shell, so that without root one fakeroot remembers whose each file is.
    String script =
        """
        set -e
        tree=$1; shift
        while [ "$1" != -- ]; do
          tar --extract --numeric-owner --preserve-permissions \
            --file "$1" --directory "$tree"
          shift
        done
        shift
        exec "$@"
        """;
    List<String> command = new ArrayList<>(isRoot() ? List.of() : List.of("fakeroot", "--"));
    command.addAll(List.of("sh", "-c", script, "populate", tree.toString()));
    archives.forEach(archive -> command.add(archive.toString()));
    command.add("--");
    command.addAll(Ext4.makeCommand(tree, work.resolve("root.ext4"), sizeMib));
    ProcessRunner.check(
        Command.of(command)
            .timeout(POPULATE_TIMEOUT)
            .advice("if it says there is no room, ask for a larger disk than " + sizeMib + " MiB"));
    attributes.write(work.resolve("root.ext4"), work, progress);
  }

  private Path fromOciLayout(Path path, int sizeMib, boolean anew, Consumer<String> progress)
      throws IOException {
    Path scratch = workFolder();
    try {
      OciLayout layout = OciLayout.open(path, scratch);
      OciLayout.Image image = layout.image();
      return fromKept(
          key("oci " + image.digest(), sizeMib),
          anew,
          progress,
          work -> {
            progress.accept("merge " + image.layers().size() + " layers");
            if (!image.config().command().isEmpty()) {
              progress.accept(
                  "the image would start " + image.config().command() + "; forkd does not");
            }
            Path merged = work.resolve("merged.tar");
            Xattrs attributes = layout.merge(image, sizeMib, merged);
            populate(work, List.of(merged), attributes, sizeMib, progress);
          });
    } finally {
      AssetFiles.deleteTree(scratch);
    }
  }

  private Path fromFile(Path file, int sizeMib, Consumer<String> progress) throws IOException {
    Ext4.require(file);
    progress.accept("copy " + file.getFileName());
    Path copy = handedOut();
    try {
      SparseFiles.copy(file, copy);
      Files.setPosixFilePermissions(copy, PosixFilePermissions.fromString("rw-------"));
      Ext4.grow(copy, sizeMib);
      return copy;
    } catch (IOException | RuntimeException e) {
      Files.deleteIfExists(copy);
      throw e;
    }
  }

  /** Leaves {@code root.ext4} in the folder it is given. */
  @FunctionalInterface
  private interface Recipe {
    void make(Path work) throws IOException;
  }

  private Path fromKept(String key, boolean anew, Consumer<String> progress, Recipe recipe)
      throws IOException {
    Path image = kept.resolve(key + ".ext4");
    removeOld();
    if (anew || !Files.exists(image)) {
      Path work = workFolder();
      try {
        recipe.make(work);
        Path made = work.resolve("root.ext4");
        Files.setLastModifiedTime(made, FileTime.from(Instant.now()));
        Files.move(made, image, StandardCopyOption.ATOMIC_MOVE);
      } finally {
        AssetFiles.deleteTree(work);
      }
    } else {
      progress.accept("use the root image made before");
    }
    removeOld();
    Path copy = handedOut();
    SparseFiles.copy(image, copy);
    return copy;
  }

  /** Only for its owner: it holds files that are another user's to run as in the guest. */
  private Path workFolder() throws IOException {
    return Files.createTempDirectory(
        staging,
        "root-",
        PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------")));
  }

  /** Removes those that are too old to be used again. */
  public void forgetOld() {
    making.lock();
    try {
      AssetFiles.orFail(
          "look for old root images in '" + kept + "'",
          () -> {
            removeOld();
            return kept;
          });
    } finally {
      making.unlock();
    }
  }

  /** Their time is that of their making: what was installed then does not get better by use. */
  private void removeOld() throws IOException {
    if (!Files.isDirectory(kept)) {
      return;
    }
    long oldest = Instant.now().minus(MAX_AGE).toEpochMilli();
    try (Stream<Path> files = Files.list(kept)) {
      List<Path> newest =
          files
              .filter(path -> path.toString().endsWith(".ext4"))
              .sorted(Comparator.comparingLong(RootImages::madeMillis).reversed())
              .toList();
      for (int i = 0; i < newest.size(); i++) {
        if (i >= KEPT || madeMillis(newest.get(i)) < oldest) {
          Files.deleteIfExists(newest.get(i));
        }
      }
    }
  }

  private static long madeMillis(Path image) {
    return image.toFile().lastModified();
  }

  private Path handedOut() {
    return staging.resolve(
        "root-" + Long.toHexString(ThreadLocalRandom.current().nextLong()) + ".ext4");
  }

  private static String key(String recipe, int sizeMib) {
    return AssetFiles.sha256(RECIPE_VERSION + "\n" + recipe + "\n" + sizeMib).substring(0, 24);
  }

  private static boolean isRoot() throws IOException {
    return (Integer) Files.getAttribute(Path.of("/proc/self"), "unix:uid") == 0;
  }
}
