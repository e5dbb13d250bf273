package dev.forkd.cli;

import dev.forkd.api.KnownTemplate;
import dev.forkd.api.rest.SnapshotInfo;
import dev.forkd.sdk.Forkd;
import dev.forkd.sdk.Snapshot;
import dev.forkd.sdk.TemplateRecipe;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import picocli.CommandLine;
import picocli.CommandLine.ArgGroup;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** Builds and lists templates. */
@Command(
    name = "template",
    description = "build or list templates",
    mixinStandardHelpOptions = true,
    synopsisSubcommandLabel = "COMMAND",
    subcommands = {TemplateCommand.Build.class, TemplateCommand.Ls.class})
final class TemplateCommand implements Runnable {
  @CommandLine.Spec private CommandLine.Model.CommandSpec spec;

  @Override
  public void run() {
    throw new CommandLine.ParameterException(spec.commandLine(), "which of build and ls?");
  }

  /** Where the root file system comes from. */
  static final class Source {
    @Option(
        names = "--packages",
        split = ",",
        paramLabel = "A,B",
        description = "Debian packages in a fresh minimal Debian 12")
    private List<String> packages = List.of();

    @Option(
        names = "--from-oci",
        paramLabel = "LAYOUT",
        description =
            "a folder or tar with an OCI image layout; its Env, User and WorkingDir are the defaults"
                + " of exec and eval, its Entrypoint and Cmd are not started")
    private Optional<Path> ociLayout = Optional.empty();

    @Option(names = "--rootfs", paramLabel = "FILE", description = "a raw ext4 image; it is copied")
    private Optional<Path> rootfs = Optional.empty();

    /** Empty when none was given. */
    Optional<TemplateRecipe> recipe() {
      return ociLayout
          .map(path -> TemplateRecipe.ofOciLayout(absolute(path)))
          .or(() -> rootfs.map(path -> TemplateRecipe.ofRootFile(absolute(path))))
          .or(() ->
              packages.isEmpty()
                  ? Optional.empty()
                  : Optional.of(TemplateRecipe.ofPackages(packages)));
    }
  }

  /** Paths are the caller's; the daemon runs elsewhere on this host. */
  private static String absolute(Path path) {
    return path.toAbsolutePath().normalize().toString();
  }

  /** Makes one. */
  @Command(
      name = "build",
      description = "make a root file system, boot it once, warm it, freeze it")
  static final class Build extends DaemonCommand {
    @Parameters(paramLabel = "NAME", description = "the template's tag")
    private String name;

    /** Without one, a template that forkd knows by this name. */
    @ArgGroup(multiplicity = "0..1")
    private Source source = new Source();

    @Option(
        names = "--run",
        paramLabel = "CMD",
        description = "shell command in the booted guest before the freeze; repeatable")
    private List<String> run = List.of();

    @Option(
        names = "--warm",
        paramLabel = "CODE",
        description = "code for the warm interpreter before the freeze; repeatable")
    private List<String> warm = List.of();

    @Option(names = "--memory-mib", paramLabel = "MIB", description = "guest memory (512)")
    private long memoryMib;

    @Option(names = "--disk-mib", paramLabel = "MIB", description = "size of the root disk (2048)")
    private long diskMib;

    @Option(names = "--kernel", paramLabel = "FILE", description = "boot this kernel instead")
    private Optional<Path> kernel = Optional.empty();

    @Option(
        names = "--boot-timeout-secs",
        paramLabel = "N",
        description = "give the guest this long to get ready")
    private long bootTimeoutSecs;

    @Option(
        names = "--replace",
        description = "build again although it is there; packages may be up to a week old")
    private boolean replace;

    @Option(
        names = "--refresh",
        description =
            "build again with the packages of today and the newest kernel: for security updates")
    private boolean refresh;

    @Option(
        names = "--pool",
        paramLabel = "N",
        description = "keep N children of it ready, 0 to 1000")
    private int pool;

    @Option(names = "--prewarm-pool", description = "let those work once ahead")
    private boolean prewarmPool;

    @Option(names = "--json", description = "print the template as JSON")
    private boolean json;

    @Override
    int run(Forkd forkd) {
      long begin = System.nanoTime();
      if (prewarmPool && pool == 0) {
        throw usage("--prewarm-pool needs --pool");
      }
      Snapshot template = forkd.buildTemplate(name, recipe(), line -> err().println("==> " + line));
      if (pool > 0) {
        var _ = template.setPool(pool, prewarmPool);
      }
      SnapshotInfo made = template.info();
      if (json) {
        printJson(made);
      } else {
        Duration taken = Duration.ofNanos(System.nanoTime() - begin);
        out().println(made.tag());
        err().println("✓ template " + made.tag() + " in " + Format.duration(taken));
      }
      return 0;
    }

    private TemplateRecipe recipe() {
      TemplateRecipe base =
          source
              .recipe()
              .or(() -> KnownTemplate.find(name).map(TemplateRecipe::of))
              .orElseThrow(() ->
                  usage(
                      "say what '"
                          + name
                          + "' is made of: --packages, --from-oci or --rootfs. Without them forkd knows "
                          + KnownTemplate.all().stream()
                              .map(known -> known.tag().value())
                              .collect(Collectors.joining(", "))));
      return new TemplateRecipe(
          base.source(),
          kernel.map(TemplateCommand::absolute),
          memoryMib == 0 ? base.memoryMib() : OptionalLong.of(memoryMib),
          diskMib == 0 ? base.diskMib() : OptionalLong.of(diskMib),
          Stream.concat(base.run().stream(), run.stream()).toList(),
          warm,
          bootTimeoutSecs == 0
              ? Optional.empty()
              : Optional.of(Duration.ofSeconds(bootTimeoutSecs)),
          replace,
          refresh);
    }
  }

  /** Lists them. */
  @Command(name = "ls", description = "list the templates")
  static final class Ls extends DaemonCommand {
    @Option(names = "--json", description = "print them as JSON")
    private boolean json;

    @Override
    int run(Forkd forkd) {
      List<SnapshotInfo> templates =
          forkd.snapshots().stream().map(Snapshot::info).filter(SnapshotInfo::template).toList();
      if (json) {
        printJson(templates);
      } else {
        out().print(render(templates, Instant.now().getEpochSecond()));
      }
      return 0;
    }
  }

  static String render(List<SnapshotInfo> templates, long nowUnix) {
    Table table = new Table("TAG", "STATUS", ">GUEST MEMORY", ">ON DISK", "AGE");
    for (SnapshotInfo template : templates) {
      table.row(
          template.tag(),
          template.status(),
          template.memoryMib() + " MiB",
          Format.bytes(template.memoryBytes() + template.diskBytes()),
          Format.age(template.createdAtUnix(), nowUnix));
    }
    return table.render();
  }
}
