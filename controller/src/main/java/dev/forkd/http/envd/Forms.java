package dev.forkd.http.envd;

import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.Map;
import org.apache.commons.fileupload2.core.AbstractFileUpload;
import org.apache.commons.fileupload2.core.DiskFileItem;
import org.apache.commons.fileupload2.core.DiskFileItemFactory;
import org.apache.commons.fileupload2.core.FileItemInputIterator;
import org.apache.commons.fileupload2.core.RequestContext;

/** The parts of a {@code multipart/form-data} body, one after the other, nothing kept. */
final class Forms {
  private static final int PARTS_MAX = 10_000;

  private Forms() {}

  private record Body(String type, InputStream in) implements RequestContext {
    @Override
    public String getCharacterEncoding() {
      return StandardCharsets.UTF_8.name();
    }

    @Override
    public long getContentLength() {
      return -1;
    }

    @Override
    public String getContentType() {
      return type;
    }

    @Override
    public InputStream getInputStream() {
      return in;
    }

    @Override
    public boolean isMultipartRelated() {
      return false;
    }
  }

  /** The library in its form that hands out streams; what would collect is not used. */
  private static final class Upload
      extends AbstractFileUpload<Body, DiskFileItem, DiskFileItemFactory> {
    @Override
    public FileItemInputIterator getItemIterator(Body body) throws IOException {
      return super.getItemIterator((RequestContext) body);
    }

    @Override
    public Map<String, List<DiskFileItem>> parseParameterMap(Body body) {
      throw new UnsupportedOperationException("forms are read part by part");
    }

    @Override
    public List<DiskFileItem> parseRequest(Body body) {
      throw new UnsupportedOperationException("forms are read part by part");
    }
  }

  static FileItemInputIterator parts(String type, InputStream in) throws IOException {
    Upload upload = new Upload();
    upload.setHeaderCharset(StandardCharsets.UTF_8);
    upload.setFileCountMax(PARTS_MAX);
    return upload.getItemIterator(new Body(type, in));
  }
}
