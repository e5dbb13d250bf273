package dev.forkd.template;

import dev.forkd.api.ErrorCode;
import dev.forkd.api.ForkdException;
import dev.forkd.process.Command;
import dev.forkd.process.ProcessResult;
import dev.forkd.process.ProcessRunner;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.time.Instant;
import java.util.Comparator;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import java.util.function.Predicate;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * The kernels in the data dir. Debian's is fetched as a package through apt, which checks its
 * signature, and unpacked into a folder: nothing is installed and no root is needed.
 */
public final class GuestKernels {
  /** Small, built for virtual machines, and the same on every Debian host. */
  static final String PACKAGE = "linux-image-cloud-amd64";

  private static final Pattern CONCRETE =
      Pattern.compile(
          "^ *Depends: (linux-image-[0-9][a-z0-9.+~-]*-cloud-amd64)$", Pattern.MULTILINE);
  private static final Duration DOWNLOAD_TIMEOUT = Duration.ofMinutes(10);
  private static final Duration UNPACK_TIMEOUT = Duration.ofMinutes(5);

  /** Offset in a bzImage of the offset of its version text, less 0x200 (Documentation/x86/boot). */
  private static final int KERNEL_VERSION_POINTER = 0x20e;

  private static final int MAX_VERSION_BYTES = 128;

  /** How long one that was superseded stays: a guest may just be booting it. */
  private static final Duration MAX_AGE = Duration.ofDays(7);

  /** How apt names the file of a package that it would download. */
  private static final Pattern FILE =
      Pattern.compile("^'[^']*' ([^ /]+)\\.deb ", Pattern.MULTILINE);

  private final Path folder;
  private final List<String> aptOptions;
  private final ReentrantLock fetching = new ReentrantLock();

  /**
   * @param folder where unpacked kernels are kept; made when needed
   */
  public GuestKernels(Path folder) {
    this(folder, List.of());
  }

  /**
   * @param aptOptions besides the host's own settings
   */
  GuestKernels(Path folder, List<String> aptOptions) {
    this.folder = folder;
    this.aptOptions = List.copyOf(aptOptions);
  }

  /** The newest Debian cloud kernel that is unpacked here already. */
  public Optional<GuestKernel> unpacked() {
    return AssetFiles.orFail(
        "look for kernels in '" + folder + "'",
        () -> {
          List<Path> packages = packages();
          return packages.isEmpty() ? Optional.empty() : Optional.of(describe(packages.getFirst()));
        });
  }

  /** The Debian cloud kernel, fetched and unpacked first if there is none yet. */
  public GuestKernel debian(Consumer<String> progress) {
    Optional<GuestKernel> there = unpacked();
    if (there.isPresent()) {
      return there.get();
    }
    fetching.lock();
    try {
      Optional<GuestKernel> present = unpacked();
      return present.isPresent() ? present.get() : fetch(progress);
    } finally {
      fetching.unlock();
    }
  }

  /**
   * Looks in the network for a newer Debian cloud kernel, and fetches it. When nobody answers, what
   * is here stays, and {@code progress} is told so.
   */
  public void refresh(Consumer<String> progress) {
    fetching.lock();
    try {
      Optional<GuestKernel> present = unpacked();
      if (present.isPresent()) {
        fetchNewer(present.get(), progress);
      } else {
        fetch(progress);
      }
    } finally {
      fetching.unlock();
    }
  }

  private void fetchNewer(GuestKernel present, Consumer<String> progress) {
    AptSources apt = apt();
    try {
      progress.accept("look for a newer kernel than " + present.release());
      apt.readLists();
      String name =
          dependency(apt)
              .orElseThrow(() ->
                  new ForkdException(
                      ErrorCode.UNAVAILABLE, "the package lists do not name '" + PACKAGE + "'"));
      String answer =
          ProcessRunner.check(
                  Command.of(apt.command("apt-get", "--quiet", "download", "--print-uris", name)))
              .stdout();
      Matcher file = FILE.matcher(answer);
      if (!file.find() || !Files.isDirectory(folder.resolve(file.group(1)))) {
        fetch(name, apt, progress);
      }
    } catch (ForkdException e) {
      progress.accept(
          "no newer kernel could be fetched, "
              + present.release()
              + " is used: "
              + e.message().lines().findFirst().orElse(""));
    } finally {
      AssetFiles.orFail(
          "remove the package lists beside '" + folder + "'",
          () -> {
            apt.forgetLists();
            return folder;
          });
    }
  }

  /**
   * Removes kernels that are not the newest and were not so for a while, and what fetches and
   * removals that were cut short have left. No snapshot needs them: a guest that has booted has its
   * kernel in its memory.
   */
  public void forgetOld() {
    fetching.lock();
    try {
      AssetFiles.orFail(
          "look for old kernels in '" + folder + "'",
          () -> {
            List<Path> kernels = packages();
            // Superseded when the next one came.
            long oldest = Instant.now().minus(MAX_AGE).toEpochMilli();
            for (int i = 1; i < kernels.size(); i++) {
              if (modifiedMillis(kernels.get(i - 1)) < oldest) {
                // By its name at once: half a tree must not be taken for a kernel.
                Files.move(
                    kernels.get(i),
                    AssetFiles.unfinished(kernels.get(i)),
                    StandardCopyOption.ATOMIC_MOVE);
              }
            }
            for (Path left : folders(path -> !isPackage(path))) {
              AssetFiles.deleteTree(left);
            }
            return folder;
          });
    } finally {
      fetching.unlock();
    }
  }

  /** What is unpacked here, the newest first. */
  private List<Path> packages() throws IOException {
    return folders(GuestKernels::isPackage).stream()
        .sorted(Comparator.comparingLong(GuestKernels::modifiedMillis).reversed())
        .toList();
  }

  /** Not one that is still being made or half removed. */
  private static boolean isPackage(Path path) {
    return !path.getFileName().toString().startsWith(".")
        && Files.isDirectory(path.resolve("boot"));
  }

  private List<Path> folders(Predicate<Path> which) throws IOException {
    if (!Files.isDirectory(folder)) {
      return List.of();
    }
    try (Stream<Path> all = Files.list(folder)) {
      return all.filter(Files::isDirectory).filter(which).toList();
    }
  }

  private AptSources apt() {
    return new AptSources(folder.resolveSibling("apt"), aptOptions);
  }

  /**
   * A kernel image of the caller's. Its modules are looked for beside it ({@code
   * ../lib/modules/RELEASE}) and in the host's {@code /lib/modules}.
   */
  public GuestKernel at(Path image) {
    if (!Files.isRegularFile(image)) {
      throw new ForkdException(
          ErrorCode.NOT_FOUND,
          "kernel '" + image + "' is not a file; name a bzImage such as /boot/vmlinuz-…");
    }
    return AssetFiles.orFail(
        "read kernel '" + image + "'",
        () -> {
          String release = release(image);
          Path here = image.toAbsolutePath();
          Optional<Path> modules =
              Stream.of(
                      here.resolveSibling("../lib/modules").normalize().resolve(release),
                      here.resolveSibling("modules").resolve(release),
                      Path.of("/lib/modules", release))
                  .filter(path -> Files.isDirectory(path.resolve("kernel")))
                  .findFirst();
          return new GuestKernel(release, image, AssetFiles.sha256(image), modules);
        });
  }

  private GuestKernel fetch(Consumer<String> progress) {
    AptSources apt = apt();
    return fetch(concretePackage(apt, progress), apt, progress);
  }

  private GuestKernel fetch(String name, AptSources apt, Consumer<String> progress) {
    progress.accept("fetch kernel package " + name);
    return AssetFiles.orFail(
        "fetch the guest kernel into '" + folder + "'",
        () -> {
          Files.createDirectories(folder);
          Path work = AssetFiles.unfinished(folder.resolve(name));
          try {
            Path download = Files.createDirectories(work.resolve("download"));
            Path tree = Files.createDirectories(work.resolve("tree"));
            ProcessRunner.check(
                Command.of(apt.command("apt-get", "--quiet", "download", name))
                    .in(download)
                    .timeout(DOWNLOAD_TIMEOUT)
                    .advice("check the network and the host's apt sources, or pass --kernel"));
            Path archive = onlyFile(download, name);
            progress.accept("unpack " + archive.getFileName());
            ProcessRunner.check(
                Command.of("dpkg-deb", "-x", archive.toString(), tree.toString())
                    .timeout(UNPACK_TIMEOUT));
            Path place = folder.resolve(archive.getFileName().toString().replace(".deb", ""));
            describe(tree);
            // The time of its coming, not of its packaging: the newest is the one that came last.
            Files.setLastModifiedTime(tree, FileTime.from(Instant.now()));
            Files.move(tree, place, StandardCopyOption.ATOMIC_MOVE);
            return describe(place);
          } finally {
            AssetFiles.deleteTree(work);
            apt.forgetLists();
          }
        });
  }

  /** The package name behind the meta package, from the host's lists or freshly read ones. */
  private static String concretePackage(AptSources apt, Consumer<String> progress) {
    Optional<String> name = dependency(apt);
    if (name.isEmpty()) {
      progress.accept("read the package lists");
      apt.readLists();
      name = dependency(apt);
    }
    return name.orElseThrow(() ->
        new ForkdException(
            ErrorCode.FAILED_PRECONDITION,
            "apt knows no kernel package behind '"
                + PACKAGE
                + "'; run 'apt-get update' on a Debian host, or pass --kernel with a kernel"
                + " image of your own"));
  }

  private static Optional<String> dependency(AptSources apt) {
    ProcessResult answer =
        ProcessRunner.run(Command.of(apt.command("apt-cache", "depends", PACKAGE)));
    Matcher match = CONCRETE.matcher(answer.stdout());
    return answer.succeeded() && match.find() ? Optional.of(match.group(1)) : Optional.empty();
  }

  private static Path onlyFile(Path download, String name) throws IOException {
    try (Stream<Path> files = Files.list(download)) {
      return files
          .filter(path -> path.toString().endsWith(".deb"))
          .findFirst()
          .orElseThrow(() -> new IOException("apt-get download " + name + " left no .deb file"));
    }
  }

  private static GuestKernel describe(Path tree) throws IOException {
    List<Path> images;
    try (Stream<Path> files = Files.list(tree.resolve("boot"))) {
      images = files.filter(path -> path.getFileName().toString().startsWith("vmlinuz-")).toList();
    }
    if (images.size() != 1) {
      throw new IOException("expected one vmlinuz in " + tree.resolve("boot") + ": " + images);
    }
    Path image = images.getFirst();
    String release = image.getFileName().toString().substring("vmlinuz-".length());
    Path modules = tree.resolve("lib/modules").resolve(release);
    if (!Files.isDirectory(modules)) {
      modules = tree.resolve("usr/lib/modules").resolve(release);
    }
    return new GuestKernel(
        release, image, AssetFiles.sha256(image), Optional.of(modules).filter(Files::isDirectory));
  }

  /** Reads the release a bzImage says it is. */
  static String release(Path image) throws IOException {
    try (RandomAccessFile file = new RandomAccessFile(image.toFile(), "r")) {
      byte[] header = new byte[0x210];
      file.readFully(header);
      if (!new String(header, 0x202, 4, StandardCharsets.US_ASCII).equals("HdrS")) {
        throw new ForkdException(
            ErrorCode.INVALID_ARGUMENT,
            "'" + image + "' is not a bzImage kernel (no HdrS mark); pass a vmlinuz file");
      }
      int pointer =
          (header[KERNEL_VERSION_POINTER] & 0xff)
              | (header[KERNEL_VERSION_POINTER + 1] & 0xff) << 8;
      file.seek(pointer + 0x200L);
      byte[] text = new byte[MAX_VERSION_BYTES];
      int length = file.read(text);
      String version = new String(text, 0, Math.max(0, length), StandardCharsets.US_ASCII);
      return version.split("[ \0]", 2)[0];
    } catch (java.io.EOFException e) {
      throw new ForkdException(
          ErrorCode.INVALID_ARGUMENT,
          "'" + image + "' is too short to be a kernel; pass a vmlinuz file",
          e);
    }
  }

  private static long modifiedMillis(Path path) {
    return AssetFiles.orFail(
        "look at '" + path + "'", () -> Files.getLastModifiedTime(path).toMillis());
  }
}
