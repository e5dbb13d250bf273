package dev.forkd.house;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;
import static org.assertj.core.api.Assertions.assertThat;

import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.lang.ArchRule;
import java.util.List;
import java.util.TreeSet;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** The picture in docs/ARCHITECTURE.md, checked: each package knows only what is below it. */
class ArchitectureTest {
  private static final JavaClasses CLASSES =
      new ClassFileImporter()
          .withImportOption(ImportOption.Predefined.DO_NOT_INCLUDE_TESTS)
          .importPackages("dev.forkd");

  private static final String[] CONTROLLER = {"dev.forkd.controller..", "dev.forkd.http.."};

  /** What the engine's module is made of; a new package belongs in this list. */
  private static final String[] ENGINE = {
    "dev.forkd.engine..",
    "dev.forkd.state..",
    "dev.forkd.guest..",
    "dev.forkd.memory..",
    "dev.forkd.disk..",
    "dev.forkd.snapshot..",
    "dev.forkd.sandbox..",
    "dev.forkd.fork..",
    "dev.forkd.pool..",
    "dev.forkd.branch..",
    "dev.forkd.workspace..",
    "dev.forkd.hosted..",
    "dev.forkd.local..",
    "dev.forkd.template..",
    "dev.forkd.process..",
    "dev.forkd.net..",
    "dev.forkd.config..",
    "dev.forkd.fault..",
    "dev.forkd.metrics..",
  };

  private static final String[] CLIENTS = {
    "dev.forkd.sdk..", "dev.forkd.junit..", "dev.forkd.cli.."
  };

  private static final String[] HTTP = {
    "io.helidon..", "java.net.http..", "com.sun.net.httpserver..", "dev.forkd.api.rest.."
  };

  /** The rules below would pass on an empty class path; they must not. */
  @Test
  void everyLayerIsSeen() {
    TreeSet<String> packages =
        CLASSES.stream()
            .map(JavaClass::getPackageName)
            .collect(Collectors.toCollection(TreeSet::new));
    assertThat(packages)
        .contains(
            "dev.forkd.api",
            "dev.forkd.linux",
            "dev.forkd.vmm",
            "dev.forkd.vmm.qemu",
            "dev.forkd.state",
            "dev.forkd.engine");
    List<String> roots =
        packages.stream().map(name -> name.split("\\.")[2]).distinct().sorted().toList();
    assertThat(
            String.join("|", ENGINE)
                + "|dev.forkd.controller..|dev.forkd.http..|dev.forkd.sdk..|dev.forkd.junit..|dev.forkd.cli.."
                + "|dev.forkd.api..|dev.forkd.linux..|dev.forkd.vmm..|dev.forkd.testkit..")
        .as("every package is in a layer")
        .contains(roots.stream().map(root -> "dev.forkd." + root + "..").toList());
  }

  /** linux: the few system calls, known to nobody's business. */
  @Test
  void linuxKnowsNothingAboveIt() {
    check(
        noClasses()
            .that()
            .resideInAPackage("dev.forkd.linux..")
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage("dev.forkd.vmm..", "dev.forkd.api.rest.."));
    checkNone("dev.forkd.linux..", ENGINE);
    checkNone("dev.forkd.linux..", CONTROLLER);
    checkNone("dev.forkd.linux..", CLIENTS);
  }

  /** vmm: microVMs, without knowing what a sandbox or a snapshot is. */
  @Test
  void vmmKnowsOnlyLinux() {
    checkNone("dev.forkd.vmm..", ENGINE);
    checkNone("dev.forkd.vmm..", CONTROLLER);
    checkNone("dev.forkd.vmm..", CLIENTS);
  }

  /** The engine never calls back into the edge, nor into its clients. */
  @Test
  void engineKnowsNoEdge() {
    for (String part : ENGINE) {
      checkNone(part, CONTROLLER);
      checkNone(part, CLIENTS);
    }
  }

  /** Only the edge and the clients speak HTTP. */
  @Test
  void nothingBelowTheControllerKnowsHttp() {
    for (String part : ENGINE) {
      checkNone(part, HTTP);
    }
    checkNone("dev.forkd.vmm..", HTTP);
    checkNone("dev.forkd.linux..", HTTP);
  }

  /** A client can be used without the daemon's code. */
  @Test
  void clientsKnowOnlyTheWire() {
    checkNone("dev.forkd.sdk..", ENGINE);
    checkNone("dev.forkd.sdk..", "dev.forkd.vmm..", "dev.forkd.linux..", "dev.forkd.cli..");
    checkNone("dev.forkd.sdk..", CONTROLLER);
    checkNone("dev.forkd.cli..", ENGINE);
    // doctor probes the host with the code the daemon runs; no other command may.
    check(
        noClasses()
            .that()
            .resideInAPackage("dev.forkd.cli..")
            .and()
            .doNotHaveSimpleName("HostChecks")
            .should()
            .dependOnClassesThat()
            .resideInAPackage("dev.forkd.vmm.."));
    checkNone("dev.forkd.api..", ENGINE);
    checkNone("dev.forkd.api..", "dev.forkd.vmm..", "dev.forkd.linux..");
  }

  /** A driver can be thrown away without touching another, and the port does not know any. */
  @Test
  void driversDoNotKnowEachOther() {
    check(slices().matching("dev.forkd.vmm.(*)..").should().notDependOnEachOther());
    checkNone("dev.forkd.vmm", "dev.forkd.vmm.*..");
  }

  /** One place for native calls, one for the database. */
  @Test
  void sharpToolsStayInTheirDrawers() {
    check(
        noClasses()
            .that()
            .resideOutsideOfPackage("dev.forkd.linux..")
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage("java.lang.foreign..", "sun.misc.."));
    check(
        noClasses()
            .that()
            .resideOutsideOfPackage("dev.forkd.state..")
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage("java.sql..", "org.sqlite.."));
    check(
        noClasses()
            .that()
            .resideOutsideOfPackages("dev.forkd.cli..", "dev.forkd.controller..")
            .should()
            .dependOnClassesThat()
            .resideInAPackage("picocli.."));
  }

  private static void checkNone(String from, String... to) {
    check(
        noClasses()
            .that()
            .resideInAPackage(from)
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage(to));
  }

  private static void check(ArchRule rule) {
    // A package of the plan may be empty today; everyLayerIsSeen guards against all being empty.
    rule.allowEmptyShould(true).check(CLASSES);
  }
}
