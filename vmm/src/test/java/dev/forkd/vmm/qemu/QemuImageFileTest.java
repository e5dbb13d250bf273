package dev.forkd.vmm.qemu;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

/** Shows that a disk layer's file is found however QEMU names it. */
class QemuImageFileTest {
  @Test
  void aPlainNameIsThePath() {
    assertThat(QemuVmm.imageFile("/data/images/d1.qcow2")).hasToString("/data/images/d1.qcow2");
  }

  @Test
  void aDescriptionNamesTheFileOfItsTopLayer() {
    assertThat(
            QemuVmm.imageFile(
                """
                json:{"backing": {"backing": {"driver": "raw", "file": {"driver": "file", \
                "filename": "/data/images/r1.raw"}}, "driver": "qcow2", "file": {"driver": "file", \
                "filename": "/data/images/d1.qcow2"}}, "driver": "qcow2", "file": \
                {"driver": "file", "filename": "/data/images/d2.qcow2"}}\
                """))
        .hasToString("/data/images/d2.qcow2");
    assertThat(QemuVmm.imageFile("json:{\"driver\": \"file\", \"filename\": \"/data/r1.raw\"}"))
        .hasToString("/data/r1.raw");
  }
}
