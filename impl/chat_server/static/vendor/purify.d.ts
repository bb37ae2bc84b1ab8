/** The part of DOMPurify that the page uses. */

interface Config {
  ALLOWED_TAGS: string[];
  ALLOWED_ATTR: string[];
  ALLOWED_URI_REGEXP: RegExp;
  ADD_URI_SAFE_ATTR: string[];
  ALLOW_DATA_ATTR: boolean;
  ALLOW_ARIA_ATTR: boolean;
  RETURN_DOM_FRAGMENT: true;
}

declare const DOMPurify: { sanitize(dirty: string, config: Config): DocumentFragment };
export default DOMPurify;
