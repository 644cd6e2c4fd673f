// blob_azure.c - blobs in an Azure container: whole and block upload on azure.h.
#include "store/blob_ops.h"

status blob_azure_open(blob_store **out, const blob_config *c, err *e) {
    (void)out, (void)c;
    return err_set(e, ERR_ARG, "Azure storage comes next");
}
